"""Bring a database to this version's tables, and find where it has drifted from them."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from pipeline.resources import bundled
from pipeline.store.drift import compare
from pipeline.store.procedures import PREFIX, drop_all
from pipeline.store.version import PROCEDURES

#: The key of the advisory lock under which migrations run: any number that nobody else uses.
ADVISORY_LOCK = 0x63697465
#: How long a migration waits for a table's lock before it gives up, so that it cannot stall the workers.
LOCK_TIMEOUT = "5s"


def upgrade(url: str, revision: str = "head") -> None:
    """Run the migrations up to `revision`. Two at once do no harm: the second waits and finds nothing to do."""
    with _connect(url) as connection:
        command.upgrade(_config(connection), revision)
        if revision == "head":
            _add_functions(connection)


def downgrade(url: str, revision: str) -> None:
    """Run them backwards, down to `revision` (`base` for none)."""
    with _connect(url) as connection:
        command.downgrade(_config(connection), revision)
        connection.execute(text(drop_all()))
        connection.commit()


def drift(url: str) -> list[str]:
    """How the database differs from what this version makes, a line each; empty when it does not."""
    with _connect(url) as connection:
        return [*_revision_drift(connection), *compare(connection, _build)]


def behind(url: str) -> list[str]:
    """What `upgrade` would do, a line each; empty when it would do nothing. `drift` looks deeper, and takes longer."""
    with _connect(url) as connection:
        present = _functions(connection)
        missing = [f"the function {one.name} is missing" for one in PROCEDURES if one.name not in present]
        return [*_revision_drift(connection), *missing]


def _build(connection: Connection) -> None:
    command.upgrade(_config(connection), "head")
    for one in PROCEDURES:
        connection.exec_driver_sql(one.create)


def _connect(url: str) -> Connection:
    scheme, _, rest = url.partition("://")
    del scheme
    return create_engine(f"postgresql+psycopg://{rest}", poolclass=NullPool).connect()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(bundled("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _revision_drift(connection: Connection) -> list[str]:
    wanted = ScriptDirectory.from_config(_config(connection)).get_current_head()
    present = MigrationContext.configure(connection).get_current_revision()
    return [] if wanted == present else [f"revision is {present}, not {wanted}: run `pipeline db upgrade`"]


def _add_functions(connection: Connection) -> None:
    with connection.begin():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        present = _functions(connection)
        for one in PROCEDURES:
            if one.name not in present:
                connection.exec_driver_sql(one.create)


def _functions(connection: Connection) -> set[str]:
    return set(
        connection.scalars(text("SELECT proname::text FROM pg_proc WHERE starts_with(proname, :p)"), {"p": PREFIX})
    )
