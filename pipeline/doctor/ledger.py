"""Postgres: whether it answers, keeps what it has committed, and has this version's tables."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.exc import OperationalError

from pipeline.doctor.finding import Finding, fine, wrong
from pipeline.doctor.site import Site
from pipeline.store import migrate
from pipeline.store.database import UNAVAILABLE

#: The oldest version that has what the ledger's statements use.
OLDEST = 15

#: Settings of the server without which "accepted" is not "kept", and what each risks.
DURABILITY = {
    "fsync": "after a crash of the machine the database may be beyond repair",
    "full_page_writes": "after a crash of the machine the database may be beyond repair",
    "synchronous_commit": "what was accepted in the last moments before a crash is lost",
}


def answers(site: Site) -> Iterator[Finding]:
    """Whether it can be reached, and is new enough."""
    try:
        version = _asked(site, "SELECT current_setting('server_version')")
    except UNAVAILABLE as away:
        what = f"does not answer ({type(away).__name__})"
        yield wrong(what, "start it, or set CITE_AGENT_DATABASE_URL to where it is")
        return
    if int(version.partition(".")[0]) < OLDEST:
        yield wrong(f"version {version} is too old", f"use Postgres {OLDEST} or newer")
    else:
        yield fine(f"version {version} answers")


def keeps_what_it_commits(site: Site) -> Iterator[Finding]:
    """Whether a commit survives a crash."""
    risks = {name: risk for name, risk in DURABILITY.items() if _asked(site, f"SHOW {name}") == "off"}
    for name, risk in risks.items():
        yield wrong(f"{name} is off: {risk}", f"set {name} = on in postgresql.conf, and for the role and the database")
    if not risks:
        yield fine("what is committed survives a crash")


def has_this_versions_tables(site: Site) -> Iterator[Finding]:
    """Whether the migrations have run, and the functions are there."""
    _asked(site, "SELECT 'it answers'")
    try:
        behind = migrate.behind(site.settings.database)
    except OperationalError as fault:
        raise fault.orig or fault from None
    for what in behind:
        yield wrong(what, "run `pipeline db upgrade`; workers may run meanwhile")
    if not behind:
        yield fine("the database is at this version")


def _asked(site: Site, question: str) -> str:
    with site.database.connection() as connection:
        row = connection.execute(question).fetchone()
    return str(row[0]) if row else ""
