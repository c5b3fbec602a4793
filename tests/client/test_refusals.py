"""Bad input is refused with an error that names the field, and nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pipeline import Client, Handle, InvalidRequest
from tests.client.conftest import settings
from tests.store.desk import count

PAST = datetime.now(UTC) - timedelta(seconds=1)
NAIVE = datetime(2099, 1, 1)  # noqa: DTZ001 - the point
LOOP: dict[str, Any] = {}
LOOP["self"] = LOOP

#: Field, value.
BAD: list[tuple[str, Any]] = [
    *(("text", text) for text in ("", "  \n\t", "a\0b", "\ud800", "x\udfff", None, 7, b"bytes", ["text"])),
    ("text", "x" * (1024 * 1024 + 1)),
    ("text", "é" * (512 * 1024) + "x"),
    *(
        (field, value)
        for field in ("user_id", "conversation_id", "idempotency_key")
        for value in ("", "x" * 256, "🙂" * 256, "a\0b", "\udc00", 7, b"ada")
    ),
    ("user_id", None),
    ("conversation_id", None),
    *(("agent", agent) for agent in ("", "unknown", "CHAT", None, 7)),
    *(("priority", priority) for priority in ("", "high", "NORMAL", None, 1, "0")),
    *(("deadline", deadline) for deadline in (0, -1, -0.5, PAST, NAIVE, float("nan"), float("inf"), "60", True)),
    *(("timeout", timeout) for timeout in (0, -1, float("nan"), float("inf"), "60", True)),
    *(("max_attempts", attempts) for attempts in (0, -1, 101, 2.0, "3", True)),
    *(("on_busy", on_busy) for on_busy in ("REJECT", "wait", "", None, ["queue"])),
    *(
        ("metadata", metadata)
        for metadata in (
            {"a": object()}, {"a": {1, 2}}, {"a": float("nan")}, {"a": b"x"}, {1: "a"}, {("a",): 1}, {"a": "\0"},
            {"a\0": 1}, {"a": "\ud800"}, {"a": "x" * 65536}, LOOP, {"a": datetime.now(UTC)},
        )
    ),
]  # fmt: skip

#: Fields that may be given a number, rightly or not.
NUMBERS = ("timeout", "deadline", "max_attempts", "agent", "priority", "on_busy")

#: What slips through, or breaks otherwise.
UNREFUSED: list[tuple[str, Any, str]] = [
    ("metadata", 5, "TypeError from dict()"),
    ("metadata", "abc", "ValueError from dict()"),
    ("metadata", [1], "TypeError from dict()"),
    ("metadata", [["a", 1]], "taken for a dict"),
    ("agent", ["chat"], "TypeError: not hashable"),
    ("priority", ["normal"], "TypeError: not hashable"),
    ("deadline", 1e15, "Postgres cannot add it to now()"),
    ("deadline", 10**400, "OverflowError"),
    ("timeout", 1e15, "stored; each claim of it fails for ever, and its whole batch with it"),
    ("timeout", 10**400, "OverflowError"),
    *((field, 10**5000, "ValueError: too many digits") for field in NUMBERS),
    ("deadline", -(10**5000), "ValueError: too many digits"),
    ("metadata", {"a": 10**5000}, "ValueError: too many digits"),
    ("metadata", {10**5000: "a"}, "ValueError: too many digits"),
]


@pytest.fixture(scope="module")
def strict(emptied_between_tests: str) -> Iterator[Client]:
    with Client(settings(emptied_between_tests)) as client:
        yield client


def check_refusal(client: Client, database: str, field: str, value: Any) -> None:
    given = {"text": "Hello.", "user_id": "ada", "conversation_id": "thesis", field: value}
    with pytest.raises(InvalidRequest) as refused:
        client.submit(**given)
    assert refused.value.field == field
    assert str(refused.value).startswith(f"{field}: ")
    (same,) = client.submit_many([given])
    assert isinstance(same, InvalidRequest)
    assert same.field == field
    with psycopg.connect(database) as sql:
        assert [count(sql, table) for table in ("requests", "sessions", "users")] == [0, 0, 0]


@pytest.mark.parametrize(("field", "value"), BAD, ids=[f"{field}-{number}" for number, (field, _) in enumerate(BAD)])
def test_bad_input_is_refused_by_the_name_of_its_field(
    strict: Client, emptied_between_tests: str, field: str, value: Any
) -> None:
    check_refusal(strict, emptied_between_tests, field, value)


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, value, _ in UNREFUSED],
    ids=[f"{field}-{number}" for number, (field, _, _) in enumerate(UNREFUSED)],
)
def test_odd_input_is_refused_too(ledger_url: str, strict: Client, field: str, value: Any) -> None:
    check_refusal(strict, ledger_url, field, value)


def test_metadata_that_is_nested_too_deep_is_refused(ledger_url: str, strict: Client) -> None:
    for depth in range(900, 1000, 2):
        nested: Any = []
        for _ in range(depth):
            nested = [nested]
        (handle,) = strict.submit_many(
            [{"text": "Hello.", "user_id": "ada", "conversation_id": f"c{depth}", "metadata": {"nested": nested}}]
        )
        if not isinstance(handle, Handle):
            break
    assert isinstance(handle, InvalidRequest)


def test_metadata_with_keys_of_two_kinds_is_refused(ledger_url: str, strict: Client) -> None:
    given: dict[str, Any] = {"user_id": "ada", "conversation_id": "thesis", "idempotency_key": "k"}
    with pytest.raises(InvalidRequest):
        strict.submit("Hello.", **given, metadata={"a": {1: "x", "b": "y"}})


def test_a_refusal_does_not_quote_the_text(strict: Client) -> None:
    with pytest.raises(InvalidRequest) as refused:
        strict.submit("a secret\0", user_id="ada", conversation_id="thesis")
    assert "secret" not in str(refused.value)


def test_the_refusal_of_an_unknown_agent_names_the_known_ones(strict: Client) -> None:
    with pytest.raises(InvalidRequest, match="only chat; set CITE_AGENT_AGENTS"):
        strict.submit("Hello.", user_id="ada", conversation_id="thesis", agent="poet")
