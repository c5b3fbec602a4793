"""Real workers, as processes that a test may kill, freeze and stop; and a look into their ledger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from pipeline import Client, Handle, Settings
from pipeline.errors import LedgerUnavailable
from pipeline.local import process
from pipeline.local.process import Launch
from pipeline.notices import control_channel, interrupts_channel
from pipeline.store.database import Database
from pipeline.store.invariants import check
from tests.servers import eventually

Worker: TypeAlias = "subprocess.Popen[bytes]"

#: Settings that let a test see in seconds what takes a minute by default.
QUICK: dict[str, Any] = {
    "lease": 3.0,
    "heartbeat": 0.5,
    "recovery_interval": 0.5,
    "redelivery_grace": 1.0,
    "outcome_poll": 0.5,
    "broker_timeout": 1.0,
    "stop_timeout": 5.0,
    "worker_slots": 30,
    "database_pool_size": 4,
    "agents": "tests.fleet_agents",
}

#: Seconds for a worker to be ready, and for a request to be answered, on a busy machine.
READY, PATIENCE = 90.0, 60.0


class Fleet:
    """Workers on one Postgres and one broker, a client of theirs, and a look into their ledger.

    `settings` are those of `pipeline.Settings`, on top of QUICK (give `quick=False` for the defaults).
    """

    def __init__(self, folder: Path, database: str, broker: str, *, quick: bool = True, **settings: Any) -> None:
        archives = {"cold_storage_url": str(folder / "archives")}
        given = {**archives, **(QUICK if quick else {"agents": QUICK["agents"]}), **settings}
        self.settings = Settings(database_url=database, broker_url=broker, **given)
        self.environment = {
            **os.environ,
            "CITE_AGENT_DATABASE_URL": database,
            "CITE_AGENT_BROKER_URL": broker,
            **{f"CITE_AGENT_{name.upper()}": _written(value) for name, value in given.items()},
        }
        self.folder = folder
        #: What the agent `gate` waits for; see `open_gate`.
        self.gate = folder / "gate"
        #: Whether a test that is over may leave requests without an outcome.
        self.may_leave_unfinished = False
        self.workers: list[Worker] = []
        self.client = Client(self.settings)
        self.database = Database(database, size=4)

    # -- processes ----------------------------------------------------------------------------------------------------

    def start(self, count: int = 1, *arguments: str) -> list[Worker]:
        """Start that many workers more, and wait until they are ready."""
        started = [self._start(*arguments) for _ in range(count)]
        for worker in started:
            eventually(partial(self._is_ready, worker), READY, what="the worker is ready")
            assert worker.poll() is None, self.log(worker)
        return started

    def hears_orders(self) -> None:
        """Wait until the broker tells each worker whose requests are to stop, which is a moment after it is ready."""
        ids = [str(id_) for (id_,) in self.rows("SELECT id FROM workers")]
        channels = [channel(id_) for id_ in ids for channel in (control_channel, interrupts_channel)]
        heard = self.client.redis.pubsub_numsub
        eventually(lambda: all(count for _, count in heard(*channels)), PATIENCE, what="the workers hear orders")

    def log(self, worker: Worker) -> str:
        """What it has written so far."""
        return self._log_of(self.workers.index(worker)).read_text()

    def kill(self, *workers: Worker) -> None:
        """SIGKILL, all of them before any end is waited for."""
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.wait(60)

    def freeze(self, worker: Worker) -> None:
        worker.send_signal(signal.SIGSTOP)

    def thaw(self, worker: Worker) -> None:
        worker.send_signal(signal.SIGCONT)

    # -- requests -----------------------------------------------------------------------------------------------------

    def ask(
        self,
        text: str = "a question",
        *,
        agent: str = "wait",
        user_id: str = "ada",
        conversation_id: str = "only",
        seconds: float = 0,
        count: int = 0,
        **options: Any,
    ) -> Handle:
        """Submit one request; `seconds` and `count` are for its agent, `options` for the client."""
        metadata = {"seconds": seconds, "count": count, "gate": str(self.gate)}
        given = {"agent": agent, "user_id": user_id, "conversation_id": conversation_id, "metadata": metadata}
        return self.client.submit(text, **{**given, **options})

    def ask_many(self, count: int, *, user: str = "user", **options: Any) -> list[Handle]:
        """Submit `count` requests, of as many users."""
        return [self.ask(f"{user} {number}", user_id=f"{user} {number}", **options) for number in range(count)]

    def open_gate(self) -> None:
        """Let those answer who wait at the gate, and those who come to it later."""
        self.gate.touch()

    def close_gate(self) -> None:
        self.gate.unlink(missing_ok=True)

    # -- the ledger ---------------------------------------------------------------------------------------------------

    def rows(self, statement: str, *given: Any) -> list[tuple[Any, ...]]:
        """What the ledger says, as soon as Postgres answers."""

        def read() -> list[tuple[Any, ...]]:
            with self.database.connection() as connection:
                return connection.execute(statement, given).fetchall()

        return self.database.patiently(read)

    def scalar(self, statement: str, *given: Any) -> Any:
        return self.rows(statement, *given)[0][0]

    def running(self) -> int:
        """How many requests run now."""
        return int(self.scalar("SELECT count(*) FROM requests WHERE status = 'running'"))

    def attempts(self, handle: Handle) -> list[tuple[str, str | None]]:
        """How each attempt that has ended did so, and why."""
        return self.rows("SELECT outcome, reason FROM attempts WHERE request_id = %s ORDER BY number", handle.id)

    def publications(self, handle: Handle) -> int:
        return int(self.scalar("SELECT publications FROM requests WHERE id = %s", handle.id))

    def worker_of(self, handle: Handle) -> Worker:
        """The worker that runs this request now."""
        pid = eventually(
            lambda: self.rows(
                "SELECT w.pid FROM requests r JOIN workers w ON w.id = r.worker_id"
                " WHERE r.id = %s AND r.status = 'running'",
                handle.id,
            ),
            PATIENCE,
            what="the request runs",
        )[0][0]
        return next(worker for worker in self.workers if worker.pid == pid)

    def assert_answered(self, handles: Sequence[Handle], *, attempts: int | None = None) -> None:
        """Each has its own answer, after that many attempts where a number is given."""
        texts = dict(self.rows("SELECT request_id::text, content FROM messages WHERE role = 'user'"))
        for handle in handles:
            answer = handle.result(PATIENCE)
            text = texts.get(handle.id) or self._text_of(handle)
            assert answer.text == f"answer to {text}"
            assert attempts in (None, answer.attempts), (answer, self.attempts(handle))

    def verify(self) -> None:
        """What must hold whatever was done to the servers and the workers."""
        broken = check(self.database)
        assert not broken, "\n".join(map(str, broken))
        unfinished = self.rows("SELECT id, status FROM requests WHERE finished_at IS NULL")
        assert self.may_leave_unfinished or not unfinished

    def describe(self) -> str:
        """For a test that failed: what has no outcome, and the end of the workers' logs."""
        try:
            unfinished = self.rows(
                "SELECT id, status, head, attempts, fence, worker_id, due_at, published_at, queue, publications, now()"
                " FROM requests WHERE finished_at IS NULL ORDER BY accepted_at LIMIT 20"
            )
            workers = self.rows("SELECT name, pid, id, lease_until, claimed_through FROM workers")
        except LedgerUnavailable as fault:
            unfinished, workers = [("the ledger is away", fault)], []
        logs = [f"--- worker {number}:\n{process.tail(self._log_of(number))}" for number in range(len(self.workers))]
        return "\n".join([*map(str, unfinished), *map(str, workers), *logs])

    def close(self) -> None:
        """Kill what is left."""
        self.client.close()
        self.database.close()
        self.kill(*(worker for worker in self.workers if worker.poll() is None))

    def _text_of(self, handle: Handle) -> str:
        return str(self.scalar("SELECT content FROM messages WHERE request_id = %s AND role = 'user'", handle.id))

    def _is_ready(self, worker: Worker) -> bool:
        return "ready." in self.log(worker) or worker.poll() is not None

    def _start(self, *arguments: str) -> Worker:
        number = len(self.workers)
        command = [sys.executable, "-m", "celery", "-A", "pipeline", "worker", "-n", f"w{number}@test", "-l", "INFO"]
        # should the tests be killed, their workers are, too
        worker = process.spawn(Launch([*command, *arguments], self._log_of(number), self.environment))
        self.workers.append(worker)
        return worker

    def _log_of(self, number: int) -> Path:
        return self.folder / f"worker-{number}.log"


def _written(setting: Any) -> str:
    """A setting as an environment variable says it."""
    return setting if isinstance(setting, str) else json.dumps(setting)
