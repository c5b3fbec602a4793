"""Pauses between the statements of the ledger's functions: what fits in between two of them sooner or later does."""

from __future__ import annotations

import re
from dataclasses import replace

import psycopg

from pipeline.store.procedures import Procedure
from pipeline.store.version import PROCEDURES

#: Where a statement ends. Not before what asks how the last one went, which a pause would answer instead.
_END = re.compile(r";[ \t]*\n(?!\s*GET DIAGNOSTICS|[^;]*\bFOUND\b)")


def slowed(one: Procedure, longest: float, body: str | None = None) -> str:
    """The statement that puts a slower one in its place, under its name: after each of its statements, or of those of
    `body`, it waits for up to `longest` seconds."""
    pause = f";\nPERFORM pg_sleep(random() * {longest:.6f});\n"
    slow = replace(one, body=_END.sub(lambda _: pause, body or one.body))
    return slow.create.replace(slow.name, one.name, 1)


def put_in(url: str, longest: float) -> list[str]:
    """Slow all of them in this database, for good. Returns the names of their verbs."""
    with psycopg.connect(url) as connection:
        for one in PROCEDURES:
            connection.execute(slowed(one, longest).encode())  # as bytes: it is our own, and has no parameters
    return [one.verb for one in PROCEDURES]
