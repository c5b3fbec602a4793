"""What operators read: requests, sessions, and how each request went."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from rich.console import Console
from rich.table import Table

from pipeline.cli.output import PLAIN_WIDTH, table
from pipeline.client.submission import time_ordered_id
from pipeline.schemas import Call, Status, Usage
from tests.cli.conftest import Cli
from tests.store.desk import Desk, answered, ending, new

SECRET = "Nobody is to read this."


def call(status: int, reason: str | None = None) -> Call:
    now = datetime.now(UTC)
    return Call("mistral", "large", now, None if reason else now, now, status, reason, Usage(7, 9))


@pytest.fixture
def failed(desk: Desk) -> UUID:
    """A request that was retried, and then failed for its agent's mistake."""
    one = new(id=time_ordered_id(), text=SECRET)
    desk.accept(one)
    tried = desk.claim_one(one.id)
    desk.end(
        ending(tried, Status.retrying, reason="http_503", delay=0.0, countdown=True, calls=(call(503, "http_503"),))
    )
    again = desk.claim_one(one.id)
    desk.end(ending(again, Status.failed, reason="agent_error", error=f"ValueError: {SECRET}", calls=(call(200),)))
    return one.id


def test_requests_are_listed_newest_first_up_to_the_limit(cli: Cli, desk: Desk) -> None:
    ids = [time_ordered_id() for _ in range(3)]
    desk.accept(*(new(id=id_, conversation=str(id_)) for id_ in ids))
    listed = json.loads(cli("requests", "list", "--limit", "2", "--json").stdout)
    assert [one["id"] for one in listed] == sorted(map(str, ids), reverse=True)[:2]


def test_requests_are_filtered_by_status_and_user(cli: Cli, desk: Desk, failed: UUID) -> None:
    waiting = new("bob", id=time_ordered_id())
    desk.accept(waiting)
    for option, expected in (
        (("--status", "failed"), [failed]),
        (("--status", "queued", "--status", "failed"), [waiting.id, failed]),
        (("--user", "bob"), [waiting.id]),
        (("--user", "bob", "--status", "failed"), []),
    ):
        listed = json.loads(cli("requests", "list", "--json", *option).stdout)
        assert [one["id"] for one in listed] == [str(id_) for id_ in expected]


def test_a_list_keeps_ids_whole_and_cuts_names_to_80_columns(cli: Cli, desk: Desk) -> None:
    one = new("u" * 200, "c" * 200)
    desk.accept(one)
    output = cli("requests", "list").stdout
    assert str(one.id) in output
    assert max(map(len, output.splitlines())) <= 80
    assert "…" in output


LONG_NAMES = pytest.mark.parametrize(
    ("user", "conversation"), [("somebody@example.org", "conversation-1"), ("u" * 200, "c" * 200)]
)


@LONG_NAMES
def test_every_column_of_a_list_is_seen_at_80_columns_whatever_names_are_long(
    cli: Cli, desk: Desk, user: str, conversation: str
) -> None:
    desk.accept(new(user, conversation))
    for command, headings in (("requests", ["REASON", "USER", "CONVERSATION"]), ("sessions", ["USER", "CONVERSATION"])):
        lines = cli(command, "list").stdout.splitlines()
        assert lines[0].split()[-len(headings) :] == headings
        assert max(map(len, lines)) <= 80


@LONG_NAMES
@pytest.mark.parametrize("status", Status)
def test_a_table_keeps_its_headings_and_whole_columns_and_gives_the_rest_to_who_has_least(
    status: Status, user: str, conversation: str
) -> None:
    columns, id_ = ("ID", "STATUS", "TRIES", "REASON", "USER", "CONVERSATION"), str(time_ordered_id())
    headings, row = lines_of(
        table(columns, [(id_, status, 3, "context_too_long", user, conversation)], whole=columns[:3])
    )
    assert headings.split() == list(columns)
    assert row.split()[:3] == [id_, status, "3"]
    assert len(row.split()) == len(columns)


def lines_of(shown: Table) -> list[str]:
    """As they are printed where there is no terminal."""
    out = Console(width=PLAIN_WIDTH, file=io.StringIO())
    out.print(shown)
    return str(out.file.getvalue()).splitlines()  # type: ignore[attr-defined]


def test_what_users_are_called_cannot_steer_a_terminal(cli: Cli, desk: Desk) -> None:
    desk.converse(1, user="\x1b[31mada", conversation="a\x07b", text="\x1b]0;gotcha\x07")
    for command in (("requests", "list"), ("sessions", "list"), ("sessions", "show", "\x1b[31mada", "a\x07b")):
        result = cli(*command)
        assert result.exit_code == 0
        assert "\ufffd" in result.stdout
        assert not {"\x1b", "\x07"} & set(result.stdout)


def test_a_request_is_shown_with_its_attempts_and_calls(cli: Cli, failed: UUID) -> None:
    lines = [line.split() for line in cli("requests", "show", str(failed)).stdout.splitlines()]
    assert ["status:", "failed", "(agent_error)"] in lines
    assert ["attempts:", "2", "of", "at", "most", "3"] in lines
    # but for how long they took
    attempts = [[*line[:2], *line[4:]] for line in lines if line[1:2] == ["worker"] and line[0].isdigit()]
    assert attempts == [
        ["1", "worker", "retried", "http_503", "0.0", "s"],
        ["2", "worker", "failed", "agent_error", "-"],
    ]
    assert ["1", "mistral", "large", "503", "http_503", "-", "0.0", "s", "7+9"] in lines
    assert ["2", "mistral", "large", "200", "-", "0.0", "s", "0.0", "s", "7+9"] in lines
    assert ["call", "2:", "first", "configured"] in lines


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_what_was_said_is_shown_only_when_asked_for(form: tuple[str, ...], cli: Cli, failed: UUID) -> None:
    assert SECRET not in cli("requests", "show", str(failed), *form).stdout
    shown = cli("requests", "show", str(failed), "--text", *form).stdout
    assert shown.count(SECRET) == 2  # by the user, and in the agent's traceback
    assert SECRET not in cli("requests", "list", *form).stdout


def test_what_was_said_of_an_answered_request_comes_from_the_history(cli: Cli, desk: Desk) -> None:
    one = new(text="Who?")
    desk.accept(one)
    desk.end(answered(desk.claim_one(one.id), "Knuth."))
    shown = json.loads(cli("requests", "show", str(one.id), "--text", "--json").stdout)
    assert shown["said"] == [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Knuth."}]


@pytest.mark.parametrize("id_", ["nonsense", "019ab1c2-0000-7000-8000-000000000000"])
def test_a_request_that_is_not_there_is_misuse(id_: str, cli: Cli) -> None:
    result = cli("requests", "show", id_)
    assert result.exit_code == 2
    assert result.stderr == f"pipeline: there is no request {id_}\n"


def test_sessions_are_listed_by_their_last_activity(cli: Cli, desk: Desk) -> None:
    for conversation in ("first", "second", "first"):
        desk.converse(1, conversation=conversation)
    desk.converse(1, user="bob")
    listed = json.loads(cli("sessions", "list", "--user", "ada", "--json").stdout)
    assert [(one["conversation_id"], one["requests"], one["messages"]) for one in listed] == [
        ("first", 2, 4),
        ("second", 1, 2),
    ]


def test_a_session_is_shown_as_its_history(cli: Cli, desk: Desk) -> None:
    desk.converse(2)
    lines = cli("sessions", "show", "ada", "thesis").stdout.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [
        ["1", "user: What did I cite?"],
        ["2", "assistant: Knuth."],
        ["3", "user: What did I cite?"],
        ["4", "assistant: Knuth."],
    ]
    as_json = json.loads(cli("sessions", "show", "ada", "thesis", "--json").stdout)
    assert [message["number"] for message in as_json] == [1, 2, 3, 4]


def test_a_session_that_is_not_there_is_misuse(cli: Cli) -> None:
    assert cli("sessions", "show", "ada", "nothing").exit_code == 2
