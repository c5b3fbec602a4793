"""Socket folders are short and private, and a data folder has one owner at a time."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pipeline.local import folders
from pipeline.local.errors import DataInUse
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
        assert len(str(folder / folders.LONGEST_SOCKET)) <= folders.SOCKET_PATH_LIMIT
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
    (tmp_path / "lock").write_text(f"1\n{left}\n")
    lock = DataLock(tmp_path)
    lock.acquire()
    lock.release()
    assert not left.exists()
