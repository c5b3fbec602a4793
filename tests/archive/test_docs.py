"""What the page on archiving promises, done as it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import pytest
import zstandard

from tests.archive.conftest import MakeArchiver
from tests.archive.library import Library

PAGE = Path(__file__).resolve().parents[2] / "docs" / "archiving.md"


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


def test_duckdb_reads_a_folder_of_archives_in_one_query(
    make_archiver: MakeArchiver, library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [library.fill(20, conversation="a_b"), library.converse(6, user="Bob/../x", conversation="🙂")]
    make_archiver(most_messages=6).archive(sessions[:1])
    make_archiver(compression="none").archive(sessions[1:])
    monkeypatch.chdir(folder.parent)
    with duckdb.connect() as connection:
        found = connection.execute(block("sql")).fetchall()
    assert [row[:3] for row in found] == [("ada", "a_b", 9), ("Bob/../x", "🙂", 5)]
    assert all(newest for *_, newest in found)


def test_an_object_has_the_fields_that_the_page_shows(
    make_archiver: MakeArchiver, library: Library, folder: Path
) -> None:
    make_archiver().archive([library.converse(4)])
    (file,) = folder.iterdir()
    written, shown = json.loads(zstandard.decompress(file.read_bytes())), json.loads(block("json"))
    assert list(written) == list(shown)
    assert list(written["session_info"]) == list(shown["session_info"])
    assert list(written["conversation_history"][0]) == list(shown["conversation_history"][0])
