"""Postgres runs from wherever its wheel was installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.local import binaries
from pipeline.local.accounts import Account
from pipeline.local.errors import LocalStackError


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="readable-", dir="/tmp"))
    folder.chmod(0o755)
    monkeypatch.setattr(binaries, "READABLE", folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """The installed Postgres, below a folder that nobody else can enter."""
    installed = binaries.postgres(None)
    folder = tmp_path / "hidden"
    folder.mkdir(mode=0o700)
    for part in (installed.parent, installed.parent.with_name(f"{installed.parent.name}.libs")):
        (folder / part.name).symlink_to(part)
    return folder / installed.parent.name / installed.name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as another user")
def test_root_keeps_a_copy_where_the_wheel_is_out_of_the_other_users_reach(hidden: Path, cache: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    account = Account(nobody.pw_uid, nobody.pw_gid)
    copy = binaries.readable_by(account, hidden)
    assert cache in copy.parents
    for program in ("initdb", "postgres"):
        said = subprocess.check_output(
            [copy / "bin" / program, "--version"], user=account.uid, group=account.gid, cwd="/"
        )
        assert b"PostgreSQL" in said
    assert binaries.readable_by(account, hidden) == copy
    assert len(list(cache.iterdir())) == 1


def test_an_ordinary_user_runs_it_in_place(hidden: Path) -> None:
    assert binaries.readable_by(None, hidden) == hidden


def test_missing_wheels_are_named_with_both_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "find_spec", lambda _: None)
    with pytest.raises(LocalStackError, match=r"(?s)agent-pipeline\[local\].*CITE_AGENT_DATABASE_URL"):
        binaries.valkey_server()
