"""Names of objects: no two sessions share one, none leaves the folder, none is too long for a disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive.names import encode, is_compressed, object_name

AT = datetime(2026, 11, 25, 2, 31, 51, 123456, tzinfo=UTC)

IDS = st.text(min_size=1, max_size=255)


def name(user: str, conversation: str, compression: str = "zstd") -> str:
    return object_name(user, conversation, AT, compression)


def test_a_name_says_whose_it_is_and_from_when() -> None:
    assert name("ada", "thesis-2") == "ada_thesis-2_20261125T023151.123456Z.json.zst"
    assert name("ada", "thesis-2", "none") == "ada_thesis-2_20261125T023151.123456Z.json"


def test_the_time_is_utc() -> None:
    there = AT.astimezone(timezone(timedelta(hours=5)))
    assert object_name("a", "b", there, "none") == object_name("a", "b", AT, "none")


@pytest.mark.parametrize(
    ("id_", "encoded"),
    [
        ("../../etc/x", "%2E.%2F..%2Fetc%2Fx"), ("a/b", "a%2Fb"), ("a_b", "a%5Fb"), ("Ada", "%41da"), ("50%", "50%25"),
        ("ada@x.org", "ada%40x.org"), (".", "%2E"), ("..", "%2E."), ("é", "%C3%A9"), ("🙂", "%F0%9F%99%82"),
        ("a~b", "a%7Eb"), ("con\n", "con%0A"), ("a\\b", "a%5Cb"), ("", ""),
    ],
)  # fmt: skip
def test_what_is_special_is_encoded(id_: str, encoded: str) -> None:
    assert encode(id_) == encoded


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a_b", "c"), ("a", "b_c")), (("a", "b"), ("A", "b")), (("%5F", "x"), ("_", "x")),
        (("a/b", "c"), ("a", "b/c")),
        (("x" * 255, "c"), ("x" * 254, "c")), (("🙂" * 200, "c"), ("🙂" * 201, "c")), (("İ", "c"), ("i", "c")),
        (("x" * 300, "c"), (encode("x" * 300), "c")),
    ],
)  # fmt: skip
def test_no_two_sessions_collide(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert name(*one).lower() != name(*other).lower()


@given(IDS, IDS, IDS, IDS)
def test_whatever_the_ids_names_differ_on_a_disk_that_ignores_case(a: str, b: str, c: str, d: str) -> None:
    assert (name(a, b).casefold() == name(c, d).casefold()) == ((a, b) == (c, d))


@given(IDS, IDS)
def test_whatever_the_ids_a_name_is_one_plain_file_of_the_folder(user: str, conversation: str) -> None:
    found = name(user, conversation)
    assert found.isascii()
    assert len(found) <= 240
    assert not set(found) & set('/\\:*?"<>| \n\0')
    assert not found.startswith(".")
    assert found.count("_") == 2


def test_the_name_says_whether_it_is_compressed() -> None:
    assert is_compressed(name("a", "b"))
    assert not is_compressed(name("a", "b", "none"))
