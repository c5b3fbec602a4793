"""The bare Celery application and its one task. `BARE_…` variables say where its servers are."""

from __future__ import annotations

import gc
import os
import time

import redis
from celery import Celery
from celery.signals import worker_init
from psycopg_pool import ConnectionPool

from stress.overhead.bare.schema import READ, WRITE
from stress.overhead.bare.transport import broker_url
from stress.overhead.load import WORK_SECONDS

#: Connections of one worker process to Postgres. 4 and 8 were tried too; the difference is within the noise.
CONNECTIONS = 16

app = Celery("bare", broker=broker_url(os.environ["BARE_BROKER_URL"]))
app.conf.update(
    worker_pool="threads",
    worker_concurrency=int(os.environ["BARE_SLOTS"]),
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    task_acks_late=False,
    task_ignore_result=True,
    task_publish_retry=False,
    broker_connection_retry_on_startup=True,
)


#: Autocommit: a statement is a transaction, and so is its commit. Every statement is prepared.
ledger = ConnectionPool(
    os.environ["BARE_DATABASE_URL"],
    min_size=CONNECTIONS,
    max_size=CONNECTIONS,
    kwargs={"autocommit": True, "prepare_threshold": 0},
    open=False,
)
notices = redis.Redis.from_url(os.environ["BARE_BROKER_URL"], max_connections=app.conf.worker_concurrency)


@worker_init.connect
def open_ledger(**_: object) -> None:
    """Only workers have connections to Postgres; the caller has none."""
    ledger.open(wait=True)
    gc.collect()
    gc.freeze()  # as the pipeline's workers do
    gc.set_threshold(10_000, 3, 2)  # likewise


@app.task(name="bare.answer")
def answer(session: str, text: str, caller: str, number: int) -> None:
    """Read the history, wait, write both messages in one transaction, tell the caller."""
    with ledger.connection() as connection:
        connection.execute(READ, (session,)).fetchall()
    time.sleep(WORK_SECONDS)
    with ledger.connection() as connection:
        connection.execute(WRITE, (session, text, session, "answer"))
    notices.publish(caller, number)
