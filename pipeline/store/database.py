"""The one way to Postgres: pooled psycopg connections for the ledger's verbs, an engine over them for the models."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
import structlog
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from pipeline import signals
from pipeline.errors import ClientForked, ConfigurationError, LedgerUnavailable, PipelineError
from pipeline.once import once

log = structlog.get_logger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]
Id = TypeVar("Id")
T = TypeVar("T")

#: What Postgres says, or fails to say, when it is away, restarting, or has undone a transaction in a deadlock; while it
#: takes no writes, as a standby or with a full disk; when a transaction took too long; and in an internal fault, under
#: whose code those who manage Postgres for others also say that it is away. Damaged data is none of these.
UNAVAILABLE = (
    *(psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout),
    *(errors.ReadOnlySqlTransaction, errors.IdleInTransactionSessionTimeout, errors.TransactionTimeout),
    *(errors.InFailedSqlTransaction, errors.InternalError_),
)

#: What Postgres says of a statement that it will never take, however often it is given it.
REFUSALS = (
    *(psycopg.DataError, psycopg.IntegrityError, psycopg.NotSupportedError, psycopg.ProgrammingError),
    *(errors.ProgramLimitExceeded, errors.StatementTooComplex),  # to psycopg, faults of operation
)

#: What Postgres says where a statement takes too long, or an answer is over 1 GB.
TOO_MUCH = (errors.QueryCanceled, errors.ProgramLimitExceeded)

#: What Postgres says of a statement of another version than its tables and functions, and what is told then.
ANOTHER_VERSION = (errors.UndefinedFunction, errors.UndefinedTable, errors.UndefinedColumn)
LACKING = "The database lacks this version's tables or functions: run `pipeline db upgrade`"

#: For every connection. A peer that is gone is noticed by TCP, a statement that hangs by the server.
CONNECTION: dict[str, str | int] = {
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "pipeline",
    # One plan for each statement, made once: planning costs more than running.
    "options": "-c plan_cache_mode=force_generic_plan -c jit=off -c timezone=UTC"
    " -c statement_timeout=15s -c idle_in_transaction_session_timeout=30s",
}

#: A rehearsal locks tables, as what it rehearses does; but whoever waits for the connection may only want to read.
BRIEFLY = "SET LOCAL lock_timeout = '50ms'; SET LOCAL statement_timeout = '1s'"

#: Seconds between two tries while Postgres is away: first, factor, cap.
RETRY_DELAY, RETRY_FACTOR, RETRY_DELAY_MAX = 0.05, 2.0, 1.0

#: What it says where two transactions were in each other's way: it is there, and the next try may well go through.
CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected)

#: Seconds for which a caller rides out an absence of Postgres: a restart takes one or two.
PATIENCE = 5.0


class Database:
    """A process's connections to Postgres. They open on first use, at most `size` of them.

    A new one does `rehearse` before it is given to anybody. After `close`, whoever comes is raised `closed`, where that
    is given, and PoolClosed otherwise; ClientForked in a child of the process that opened them.
    """

    def __init__(
        self,
        url: str,
        *,
        size: int = 8,
        wait: float = 2.0,
        rehearse: Callable[[Connection], None] | None = None,
        closed: type[PipelineError] | None = None,
    ) -> None:
        self._conninfo = make_conninfo(url, **_ours(url))
        self._size = size
        self._wait = wait
        self._rehearse = rehearse
        self._closed_error = closed
        self._closed = False
        #: The process that the pool is of.
        self._process: int | None = None

    @once
    def _pool(self) -> ConnectionPool[Connection]:
        self._process = os.getpid()
        return ConnectionPool(
            self._conninfo,
            min_size=1,
            max_size=self._size,
            timeout=self._wait,
            kwargs={"autocommit": True, "prepare_threshold": 3},
            configure=self._configure,
            close_returns=True,  # for the engine, which closes what it borrowed
            reconnect_timeout=0,  # each caller tries for itself, so that none waits out another's back-off
            name="pipeline",
            open=True,
        )

    def check_owner(self) -> None:
        """Raises ClientForked in a child of the process that opened the connections."""
        if self.is_the_parents:
            raise ClientForked

    @property
    def is_the_parents(self) -> bool:
        """Whether the process forked after the connections were opened: they, and their threads, are its parent's."""
        return self._process not in (None, os.getpid())

    def _configure(self, connection: Connection) -> None:
        if self._rehearse is None:
            return
        try:
            with connection.transaction():
                connection.execute(BRIEFLY)
                self._rehearse(connection)
        except psycopg.Error as fault:  # whoever does it in earnest is told, and knows what to do
            signals.ledger_failed("rehearse")
            log.info("ledger_not_rehearsed", error=type(fault).__name__)

    @once
    def engine(self) -> Engine:
        """For reading through the models; it borrows from the same pool."""
        return create_engine("postgresql+psycopg://", creator=lambda: self._open_pool().getconn(), poolclass=NullPool)

    def _open_pool(self) -> ConnectionPool[Connection]:
        if not self._closed:
            self.check_owner()
            return self._pool
        if self._closed_error is None:
            raise PoolClosed
        raise self._closed_error

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in autocommit mode. Raises what `UNAVAILABLE` lists when there is none to be had, and
        ConfigurationError where the database is of another version."""
        try:
            with self._open_pool().connection() as connection:
                try:
                    yield connection
                except errors.ReadOnlySqlTransaction:  # it may lead to what is a standby from now on
                    connection.pgconn.finish()  # its `close` would give it back to the pool as it is
                    raise
        except ANOTHER_VERSION as fault:
            raise ConfigurationError(LACKING) from fault

    def patiently(self, verb: Callable[[], T], *, seconds: float = PATIENCE) -> T:
        """Run an idempotent verb, again and again while Postgres is away, for about `seconds`.

        Raises LedgerUnavailable after that.
        """
        until = time.monotonic() + seconds
        return self.until_available(verb, give_up=lambda: time.monotonic() >= until)

    def until_available(self, verb: Callable[[], T], *, give_up: Callable[[], bool]) -> T:
        """Run an idempotent verb until Postgres answers. Raises LedgerUnavailable once `give_up` says so, and what
        `REFUSALS` lists at once."""
        delays = _delays()
        while True:
            try:
                return verb()
            except REFUSALS:
                raise
            except UNAVAILABLE as fault:
                if isinstance(fault, PoolClosed):
                    raise self._closed_error or LedgerUnavailable from fault
                if give_up():
                    raise LedgerUnavailable from fault
                met = isinstance(fault, CONFLICTS)
                pause = random.uniform(0, RETRY_DELAY) if met else next(delays)  # noqa: S311 - no secret
                signals.ledger_failed("retried")
                log.info("ledger_retry", error=type(fault).__name__, seconds=pause)
            time.sleep(pause)
            if not met:
                self._pool.check()  # where one connection is broken, its neighbours are

    def close(self) -> None:
        """Close what is open, for good."""
        self._closed = True
        if "_pool" in self.__dict__:
            self._pool.close()


def _delays() -> Iterator[float]:
    delay = RETRY_DELAY
    while True:
        yield delay
        delay = min(delay * RETRY_FACTOR, RETRY_DELAY_MAX)


def in_parts(read: Callable[[Sequence[Id]], list[T]], ids: Sequence[Id]) -> list[T]:
    """Read what these ids lead to, in two halves where all of it is too much for one answer, and so on. Raises what
    `read` does for one."""
    try:
        return read(ids)
    except TOO_MUCH:
        if len(ids) == 1:
            raise
        half = len(ids) // 2
        return [*in_parts(read, ids[:half]), *in_parts(read, ids[half:])]


def _ours(url: str) -> dict[str, str | int]:
    """What a connection has of us: all that the URL does not say otherwise. Its `options` say several things,
    of which the last of a name holds: they come after ours, and leave those in force that they do not name."""
    given = conninfo_to_dict(url)
    ours = {name: value for name, value in CONNECTION.items() if name not in given}
    return {**ours, "options": f"{CONNECTION['options']} {given.get('options', '')}".rstrip()}
