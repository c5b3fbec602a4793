"""Whether anything was lost, doubled or reordered: what was sent, held against the ledger and the history.

The pipeline's own invariants look at the ledger alone, and cannot know of what never reached it. This looks from
outside: at every id that a caller was given, when it was, and what the caller was told in the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from pipeline.errors import PipelineError
from pipeline.schemas import Message
from pipeline.store.database import Connection, Database
from stress.evidence import OURS, TIMEOUT

#: Where each of the run's requests stands.
STANDING = f"SELECT id::text, status, finished_at IS NOT NULL FROM requests WHERE {OURS}"  # noqa: S608 - a constant

#: The run's conversations with their hot messages, in the order of the history.
SAID = f"""
    SELECT s.user_id, s.conversation_id, s.last_number, m.number, m.role, m.request_id::text
    FROM sessions AS s LEFT JOIN messages AS m ON m.session_id = s.id
    WHERE s.{OURS} ORDER BY s.id, m.number
"""  # noqa: S608 - a constant

#: Outcomes of which a caller was told nothing, and so nothing wrong.
UNTOLD = ("overdue", "unread")

#: Ids that a finding names.
EXAMPLES = 5

History = Callable[[str, str], Iterable[Message]]
Standing = Mapping[str, tuple[str, bool]]  #: by id: the status, and whether it has ended


class Heard(NamedTuple):
    """What the caller of an accepted request knows: when it submitted it and was accepted, and what it was told."""

    sent: float
    accepted: float
    outcome: str


class Said(NamedTuple):
    """One message of the history, and the request that it belongs to."""

    role: str
    id: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong: how often, and the first few."""

    count: int = 0
    examples: tuple[str, ...] = ()

    @classmethod
    def of(cls, wrong: Iterable[str]) -> Self:
        found = sorted(wrong)
        return cls(len(found), tuple(found[:EXAMPLES]))


@dataclass(frozen=True, slots=True)
class Integrity:
    """Requests, by what is wrong with them.

    `lost`: accepted, and not in the ledger; or answered, and question or answer not in the history. `unfinished`:
    without an outcome. `doubled`: asked or answered more than once. `reordered`: behind one that was sent only after
    it had been accepted. `contradicted`: the caller was told of another outcome than the ledger has. `unheard`: in the
    ledger, but no caller was told so, but for as many as could not be sure. `repeated`: one request that several
    callers were given as theirs, so that fewer were made than were counted.
    """

    lost: Finding
    unfinished: Finding
    doubled: Finding
    reordered: Finding
    contradicted: Finding
    unheard: Finding
    repeated: Finding = Finding()


def examine(
    database: Database,
    run: str,
    heard: Mapping[str, Heard],
    history: History,
    *,
    unsure: int = 0,
    repeated: Iterable[str] = (),
) -> Integrity:
    """Hold them against each other. `heard` is of accepted requests, by id; several callers had the `repeated` ids.

    `unsure` callers were told that Postgres did not answer: their requests may have been accepted all the same.
    `history` reads a whole conversation, archived messages included; it is asked of those that are not all hot.
    """
    found = wrong(database, run, heard, history, unsure=unsure)
    return Integrity(**{name: Finding.of(ids) for name, ids in found.items()}, repeated=Finding.of(repeated))


def wrong(
    database: Database, run: str, heard: Mapping[str, Heard], history: History, *, unsure: int = 0
) -> dict[str, set[str]]:
    """The ids of all requests that something is wrong with, by what the ledger shows: fields of `Integrity`."""
    with database.connection() as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute(TIMEOUT)
        rows = connection.execute(STANDING, {"run": run})
        standing = {id_: (status, ended) for id_, status, ended in rows}
        talks = _talks(connection, run, history)
    answered = {id_ for id_, (status, _) in standing.items() if status == "succeeded"}
    unheard = standing.keys() - heard.keys()
    asked = Counter(said.id for talk in talks for said in talk if said.role == "user")
    replied = Counter(said.id for talk in talks for said in talk if said.role == "assistant")
    return {
        "lost": {*(heard.keys() - standing.keys()), *(answered - (asked.keys() & replied.keys()))},
        "unfinished": {id_ for id_, (_, ended) in standing.items() if not ended},
        "doubled": {id_ for id_, times in (asked | replied).items() if times > 1},
        "reordered": _reordered(talks, heard),
        "contradicted": _contradicted(heard, standing),
        "unheard": set(unheard) if len(unheard) > unsure else set(),
    }


def _talks(connection: Connection, run: str, history: History) -> list[Sequence[Said]]:
    """All of the run's conversations, each whole."""
    hot: dict[tuple[str, str], list[Said]] = {}
    cold = set[tuple[str, str]]()
    for user, conversation, newest, number, role, id_ in connection.execute(SAID, {"run": run}):
        talk = hot.setdefault((user, conversation), [])
        if number is not None:
            talk.append(Said(role, id_))
        if len(talk) <= 1 and newest and number != 1:
            cold.add((user, conversation))
    return [_whole(history, who) or talk if who in cold else talk for who, talk in hot.items()]


def _whole(history: History, who: tuple[str, str]) -> list[Said] | None:
    """None where an archive cannot be read: what it should hold is lost."""
    try:
        return [Said(each.role, each.request_id or "") for each in history(*who)]
    except PipelineError:
        return None


def _reordered(talks: Iterable[Sequence[Said]], heard: Mapping[str, Heard]) -> set[str]:
    wrong = set[str]()
    for talk in talks:
        newest = float("-inf")
        for said in talk:
            if said.role != "user" or (told := heard.get(said.id)) is None:
                continue
            if told.accepted < newest:
                wrong.add(said.id)
            newest = max(newest, told.sent)
    return wrong


def _contradicted(heard: Mapping[str, Heard], standing: Standing) -> set[str]:
    return {
        id_
        for id_, told in heard.items()
        if told.outcome not in UNTOLD and id_ in standing and standing[id_][0] != told.outcome
    }
