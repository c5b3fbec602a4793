"""Socket folders are short and private, and a data folder has one owner at a time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pipeline.local import folders
from pipeline.local.errors import DataInUse, DataRefused
from pipeline.local.folders import DataLock


@pytest.mark.parametrize("runtime", ["", "/nowhere", "long" * 30])
def test_a_socket_folder_is_short_and_private_whatever_the_environment_says(
    runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / runtime if runtime.startswith("long") else Path(runtime)
    if runtime.startswith("long"):
        given.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(given) if runtime else "")
    folder = folders.for_sockets()
    try:
        assert len(os.fsencode(folder / folders.LONGEST_SOCKET)) <= 100
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        folders.remove_sockets(folder)


def test_nothing_but_a_socket_folder_is_ever_removed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "precious"
    elsewhere.mkdir()
    link = tmp_path / "cap-link"
    link.symlink_to(elsewhere)
    for folder in (elsewhere, link):
        folders.remove_sockets(folder)
    assert elsewhere.exists()


def test_data_in_use_are_refused_with_the_owners_number(tmp_path: Path) -> None:
    first, second = DataLock(tmp_path), DataLock(tmp_path)
    first.acquire()
    with pytest.raises(DataInUse, match=r"process \d+\) runs on"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_socket_folders_go_with_the_lock(tmp_path: Path) -> None:
    lock = DataLock(tmp_path)
    lock.acquire()
    folder = lock.sockets()
    lock.release()
    assert not folder.exists()


def test_socket_folders_that_a_killed_owner_left_go_with_the_next_lock(tmp_path: Path) -> None:
    left = folders.for_sockets()
    folders.claim(tmp_path)
    (tmp_path / "lock").write_text(f"1\n{left}\n")
    lock = DataLock(tmp_path)
    lock.acquire()
    lock.release()
    assert not left.exists()


def test_a_folder_with_what_is_not_ours_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "mine.log").write_text("precious")
    tmp_path.chmod(0o755)
    with pytest.raises(DataRefused, match=f"--data {tmp_path}: .*; name a new or an empty folder"):
        DataLock(tmp_path).acquire()
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["logs", "mine.log"]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_file_is_no_folder_for_data(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for data in (file, file / "below"):
        with pytest.raises(DataRefused, match="Not a directory"):
            DataLock(data).acquire()


def test_an_empty_folder_is_taken_with_the_mode_that_it_has_and_a_new_one_is_private(tmp_path: Path) -> None:
    empty, new = tmp_path / "empty", tmp_path / "new"
    empty.mkdir(mode=0o755)
    (empty / "lost+found").mkdir()
    modes = {data.name: stat.S_IMODE(folders.claim(data).stat().st_mode) for data in (empty, new)}
    assert modes == {"empty": 0o755, "new": 0o700}
    (empty / "file").touch()
    assert folders.claim(empty) == empty, "what is marked stays ours, whatever it holds"


@pytest.mark.parametrize("trace", folders.TRACES)
def test_data_of_a_version_that_left_no_mark_are_known_by_what_they_hold(trace: str, tmp_path: Path) -> None:
    (tmp_path / trace).parent.mkdir()
    (tmp_path / trace).touch()
    with pytest.raises(DataRefused):
        folders.claim(tmp_path)
    (tmp_path / "lock").touch()
    assert folders.claim(tmp_path) == tmp_path
