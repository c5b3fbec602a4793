"""The ledger's verbs as functions in the database: one message there and back for several statements.

Each statement of such a function sees what was committed before it began, so that one can take the locks and the
next can look. A function's name carries a digest of its body: two versions of the code can work side by side, and
`pipeline db upgrade` adds what is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.store.database import Connection, Database

#: What every name begins with, for whoever wants to drop those of old versions.
PREFIX = "pipeline_"

#: Each row that is given is looked up by an index. A plan is kept, and one that was made while a table was small, or
#: empty for the moment as those of queues are, must not read all of it once it is large.
PLANNING = "SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET random_page_cost = 1.1"


@dataclass(frozen=True)
class Procedure:
    """A PL/pgSQL function that returns JSON. `parameters` are SQL declarations, `body` stands between BEGIN and END."""

    verb: str
    parameters: tuple[str, ...]
    body: str
    declare: str = ""

    @cached_property
    def name(self) -> str:
        digest = hashlib.sha256(self._definition.encode()).hexdigest()
        return f"{PREFIX}{self.verb}_{digest[:12]}"

    @property
    def create(self) -> str:
        """The statement that adds it, if it is not there."""
        return f"CREATE OR REPLACE FUNCTION {self.name}{self._definition}"

    def call(self, database: Database, *given: Any) -> Any:
        """Call it in a transaction of its own. Raises what `database.UNAVAILABLE` lists."""
        with database.connection() as connection:
            return self._result(connection, given)

    def call_patiently(self, database: Database, *given: Any, timeout: str) -> Any:
        """The same, for one that may take longer than others: `timeout`, such as `5min`. Costs two round trips more."""
        with database.connection() as connection, connection.transaction():
            connection.execute("SELECT set_config('statement_timeout', %s, true)", [timeout])
            return self._result(connection, given)

    def rehearse(self, connection: Connection, *nothing: Any) -> None:
        """Have it plan its statements there, by calling it with `nothing` to do. Raises psycopg.Error."""
        self._result(connection, nothing)

    def _result(self, connection: Connection, given: Sequence[Any]) -> Any:
        places = ", ".join("%s" for _ in self.parameters)
        row = connection.execute(f"SELECT {self.name}({places})", given).fetchone()
        return row[0] if row else None

    @property
    def _definition(self) -> str:
        return (
            f"({', '.join(self.parameters)}) RETURNS json LANGUAGE plpgsql {PLANNING} AS $procedure$\n"
            f"DECLARE\n{self.declare}\nBEGIN\n{self.body}\nEND $procedure$"
        )


def drop_all() -> str:
    """The statement that drops every version of every function of ours."""
    return f"""
DO $$ DECLARE one regprocedure; BEGIN
    FOR one IN SELECT oid FROM pg_proc WHERE starts_with(proname, '{PREFIX}') LOOP
        EXECUTE 'DROP FUNCTION ' || one;
    END LOOP;
END $$"""  # noqa: S608 - the prefix is the constant above
