"""The document: the same messages give the same bytes, and what was altered is not read."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import zstandard

from pipeline.archive.document import digest, parse, serialize
from pipeline.errors import ArchiveDamaged
from pipeline.store.archives import Pending

AT = datetime(2026, 11, 25, tzinfo=UTC)

ENTRY = {
    "number": 1, "role": "user", "content": "naïve \U0001f642", "created_at": AT.isoformat(), "request_id": "r",
    "part": 1, "tool_calls": None, "tool_call_id": None, "metadata": None,
}  # fmt: skip


def pending(name: str = "a_b_t.json.zst", count: int = 1) -> Pending:
    return Pending(1, 1, "ada", "thesis", name, 1, count, count, 7, AT, AT, AT, 0, AT, 100, more=False)


def made(name: str = "a_b_t.json.zst") -> bytes:
    return serialize(pending(name), json.dumps([ENTRY]))


def test_the_same_messages_give_the_same_bytes() -> None:
    assert made() == made()


@pytest.mark.parametrize("name", ["a.json", "a.json.zst"])
def test_what_is_written_is_read(name: str) -> None:
    document = parse(name, made(name), sha256=digest(made(name)))
    assert (document.user_id, document.conversation_id, document.message_count) == ("ada", "thesis", 1)
    assert document.session_info == {"duration_seconds": 0, "token_count": 7, "archived_message_count": 1}
    assert document.history == [ENTRY]
    (message,) = document.messages
    assert (message.content, message.number, message.created_at) == ("naïve \U0001f642", 1, AT)


def test_zstd_tools_can_read_it() -> None:
    assert json.loads(zstandard.decompress(made()))["schema_version"] == 1


def refusal(data: bytes, *, name: str = "a.json.zst", sha256: bytes | None = None) -> str:
    with pytest.raises(ArchiveDamaged) as refused:
        parse(name, data, sha256=sha256)
    assert refused.value.name == name
    assert refused.value.__cause__ is None
    return refused.value.why


def test_another_hash_is_refused() -> None:
    assert refusal(made() + b" ", sha256=digest(made())) == "its SHA-256 is not the one on record"


@pytest.mark.parametrize("length", [0, 3, 40, -1])
def test_a_truncated_one_is_refused(length: int) -> None:
    assert refusal(made()[:length]) == "it cannot be decompressed"


def test_an_altered_one_is_refused() -> None:
    data = bytearray(made())
    data[len(data) // 2] ^= 1
    assert refusal(bytes(data))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("{", "it is not JSON"), ("[]", "fields are missing"), ('{"user_id": "ada"}', "fields are missing"),
    ],
)  # fmt: skip
def test_what_is_no_document_is_refused(said: str, why: str) -> None:
    assert refusal(said.encode(), name="a.json") == why


@pytest.mark.parametrize(
    ("field", "value", "why"), [("schema_version", 2, "schema version"), ("message_count", 5, "many")]
)
def test_one_of_another_version_or_count_is_refused(field: str, value: int, why: str) -> None:
    said = {**json.loads(made("a.json")), field: value}
    assert why in refusal(json.dumps(said).encode(), name="a.json")
