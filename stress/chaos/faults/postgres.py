"""Postgres crashes, stands still, hangs up, takes no writes or no connections. Touched: all that is unfinished."""

from __future__ import annotations

import time

import psycopg
from psycopg import sql

from stress.chaos.fault import HALF, Strike, fault
from stress.chaos.scene import Scene

#: How much longer than a lease it stands still.
PAST = 1.5

#: How often connections are cut, and how many seconds apart.
CUTS, APART = 5, 1.0

#: Seconds for which there are no connections to be had.
EXHAUSTED = 8.0

#: Seconds for which it takes no writes.
READ_ONLY = 8.0

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> ALL(%s)"


@fault("postgres_immediate", HALF)
def restart(scene: Scene) -> Strike:
    """Stop Postgres as in a crash; it comes back and recovers from its log. Touched: all that is unfinished."""
    touched = scene.enough(scene.ledger.unfinished)
    began = time.monotonic()
    scene.postgres.stop(mode="immediate")
    return Strike.at(began, touched)


@fault("postgres_frozen", HALF)
def freeze(scene: Scene) -> Strike:
    """SIGSTOP Postgres for longer than a lease. Touched: all that is unfinished."""
    touched = scene.enough(scene.ledger.unfinished)
    began = time.monotonic()
    try:
        scene.postgres.freeze()
        scene.hold(scene.settings.lease * PAST)
    finally:
        scene.postgres.thaw()
    return Strike.since(began, touched)


@fault("postgres_cut", HALF)
def cut_connections(scene: Scene) -> Strike:
    """Cut all connections to Postgres, five times within five seconds. Touched: all that is unfinished."""
    touched = scene.enough(scene.ledger.unfinished)
    began = time.monotonic()
    for _ in range(CUTS):
        with psycopg.connect(scene.postgres.url, autocommit=True) as connection:
            connection.execute(CUT, [[connection.info.backend_pid]])
        scene.hold(APART)
    return Strike.since(began, touched)


@fault("postgres_read_only", HALF)
def take_no_writes(scene: Scene) -> Strike:
    """Cut all connections; who connects again cannot write for 8 s, as after a failover to a standby. Touched: all
    that is unfinished."""
    touched = scene.enough(scene.ledger.unfinished)
    began = time.monotonic()
    try:
        _let_write(scene.postgres.url, may=False)
        scene.hold(READ_ONLY)
    finally:
        _let_write(scene.postgres.url, may=True)  # who is connected still cannot, and has to find out
    return Strike.since(began, touched)


@fault("postgres_exhausted", HALF)
def exhaust(scene: Scene) -> Strike:
    """Take every connection that Postgres has, and cut those of others, for 8 s. Touched: all that is unfinished."""
    touched = scene.enough(scene.ledger.unfinished)
    began = time.monotonic()
    swarm = [psycopg.connect(scene.postgres.url, autocommit=True)]
    try:
        while time.monotonic() < began + EXHAUSTED:
            swarm[0].execute(CUT, [[connection.info.backend_pid for connection in swarm]])
            _take_all(swarm, scene.postgres.url)
            scene.hold(0.2)
    finally:
        for connection in swarm:
            connection.close()
    return Strike.since(began, touched)


def _let_write(url: str, *, may: bool) -> None:
    with psycopg.connect(url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        database = sql.Identifier(connection.info.dbname)
        setting = sql.SQL("off" if may else "on")
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}").format(database, setting)
        )
        if not may:
            connection.execute(CUT, [[connection.info.backend_pid]])


def _take_all(swarm: list[psycopg.Connection], url: str) -> None:
    """Connect until Postgres refuses."""
    while True:
        try:
            swarm.append(psycopg.connect(url, autocommit=True, connect_timeout=3))
        except psycopg.OperationalError:
            return
