"""What every connection to Postgres is, whatever the URL says besides; and how often one tries."""

from __future__ import annotations

from contextlib import closing

import pytest
from psycopg import errors

from pipeline.store.database import Database


@pytest.mark.parametrize("options", ["", "&options=-cwork_mem%3D5MB%20-c%20statement_timeout%3D7s"])
def test_options_of_a_url_come_on_top_of_ours_and_before_them_where_both_say_something(
    ledger_url: str, options: str
) -> None:
    with closing(Database(f"{ledger_url}{options}")) as database, database.connection() as connection:
        shown = [
            connection.execute(f"SHOW {name}").fetchone()
            for name in ("plan_cache_mode", "idle_in_transaction_session_timeout", "statement_timeout", "work_mem")
        ]
    theirs = [("7s",), ("5MB",)] if options else [("15s",), ("4MB",)]
    assert shown == [("force_generic_plan",), ("30s",), *theirs]


@pytest.mark.parametrize("conflict", [errors.SerializationFailure, errors.DeadlockDetected])
def test_who_was_in_anothers_way_tries_again_without_backing_off(store: Database, conflict: type[Exception]) -> None:
    tries = 0

    def verb() -> str:
        nonlocal tries
        tries += 1
        if tries < 40:  # backing off for longer each time, it would be the 8th within the five seconds
            raise conflict
        return "done"

    assert store.patiently(verb) == "done"
