"""A stack as a library: all of it starts, stops and is found again, and nothing of it stays behind."""

from __future__ import annotations

import json
import os
import pwd
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis

from pipeline import stackfile
from pipeline.errors import LedgerUnavailable
from pipeline.local import folders
from pipeline.local.errors import DataInUse, LocalStackError, StackInterrupted
from pipeline.local.process import all_gone
from pipeline.local.stack import LocalStack
from pipeline.settings import Settings
from tests.local import serving
from tests.local.serving import PARTS
from tests.servers import Broker, eventually

ROOT = Path(__file__).resolve().parents[2]
#: A user who is neither root nor the one that root's Postgres becomes.
SOMEBODY = "games"


@pytest.fixture(autouse=True)
def state_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DATABASE_URL", "BROKER_URL", "PROVIDERS"):
        monkeypatch.delenv(f"CITE_AGENT_{name}", raising=False)
    path = tmp_path / "state" / "stack.json"
    monkeypatch.setenv("CITE_AGENT_STACK_FILE", str(path))
    return path


def stack_on(data: Path, *, announced: bool = True) -> LocalStack:
    return LocalStack(data, PARTS, announced=announced, settings=Settings())


def test_a_second_start_finds_the_data_of_the_first(tmp_path: Path) -> None:
    with stack_on(tmp_path / "data") as stack:
        with psycopg.connect(stack.database_url) as connection:
            connection.execute("CREATE TABLE kept ()")
        with redis.Redis.from_url(stack.broker_url) as client:
            client.set("key", "kept")
    with stack_on(tmp_path / "data") as stack:
        with psycopg.connect(stack.database_url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        with redis.Redis.from_url(stack.broker_url) as client:
            assert client.get("key") == b"kept"


def test_a_running_stack_is_found_by_its_private_state_file_and_leaves_nothing(
    tmp_path: Path, state_file: Path
) -> None:
    with stack_on(tmp_path / "data") as stack:
        assert stat.S_IMODE(state_file.stat().st_mode) == 0o600
        assert Settings().database == stack.database_url
        assert Settings().broker == stack.broker_url
        assert [provider.base_url for provider in Settings().configured_providers] == [stack.simulator_url]
        running = [psutil.Process(program.pid) for program in stack.programs]
        sockets = [server.sockets for server in stack.servers]
        with pytest.raises(DataInUse):
            stack_on(tmp_path / "data").start()
        assert stackfile.read() is not None, "a refused stack took the state file of the running one away"
    assert all_gone(running)
    assert not any(folder.exists() for folder in sockets)
    assert not state_file.exists()


def test_a_second_stack_does_not_take_the_state_file_of_a_running_one(tmp_path: Path, state_file: Path) -> None:
    stackfile.write(stackfile.Stack(os.getppid(), "postgresql://first", "unix:///first"))
    with pytest.raises(LocalStackError, match="a stack runs already"):
        stack_on(tmp_path / "data").start()
    assert state_file.exists()


def test_a_state_file_whose_process_number_was_used_again_is_no_obstacle(tmp_path: Path, state_file: Path) -> None:
    stackfile.write(stackfile.Stack(os.getppid(), "postgresql://first", "unix:///first"))
    os.utime(state_file, (0, 0))
    with stack_on(tmp_path / "data") as stack:
        assert stackfile.read() == stackfile.Stack(
            os.getpid(),
            stack.database_url,
            stack.broker_url,
            stack.simulator_url,
            cold_storage_url=str(tmp_path / "data" / "archives"),
        )


def test_a_start_takes_away_no_log_but_its_own(tmp_path: Path) -> None:
    logs = folders.private(folders.claim(tmp_path / "data") / "logs")
    for name in ("mine", "worker", "worker12", "beat"):
        (logs / f"{name}.log").touch()
    with stack_on(tmp_path / "data"):
        assert {path.stem for path in logs.iterdir()} == {"mine", "worker", "valkey", "postgres", "simulator"}


def test_a_postgres_that_does_not_answer_is_told_by_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITE_AGENT_DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:1/nothing")
    stack = stack_on(tmp_path / "data")
    with pytest.raises(LedgerUnavailable, match=r"CITE_AGENT_DATABASE_URL: .*127\.0\.0\.1") as raised:
        stack.start()
    assert "hunter2" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert not any(program.alive for program in stack.programs)


def test_servers_that_are_configured_are_used_and_not_started(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITE_AGENT_DATABASE_URL", database)
    with stack_on(tmp_path / "data") as stack:
        assert [server.name for server in stack.servers] == ["valkey"]
        assert stack.database_url == database


def test_beside_a_broker_and_providers_that_are_configured_only_postgres_is_started(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITE_AGENT_BROKER_URL", broker.url)
    monkeypatch.setenv("CITE_AGENT_PROVIDERS", '[{"name": "mine", "base_url": "http://127.0.0.1:1/v1", "model": "m"}]')
    with stack_on(tmp_path / "data") as stack:
        assert [program.name for program in stack.programs] == ["postgres"]
        assert (stack.broker_url, stack.simulator_url) == (broker.url, None)


def test_an_interrupted_start_leaves_nothing(tmp_path: Path, state_file: Path) -> None:
    stack = stack_on(tmp_path / "data")
    stack.interrupt()
    with pytest.raises(StackInterrupted):
        stack.start()
    assert not any(program.alive for program in stack.programs)
    assert not any(server.sockets.exists() for server in stack.servers)
    assert not state_file.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_stack_leaves_no_process_and_its_successor_tidies_its_sockets(tmp_path: Path) -> None:
    with serving_process(tmp_path / "data") as (first, facts):
        running = [psutil.Process(pid) for pid in facts["pids"]]
        first.communicate("die\n")
    eventually(lambda: all_gone(running))
    with stack_on(tmp_path / "data"):
        assert not any(Path(folder).exists() for folder in facts["sockets"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a second user")
def test_two_users_of_a_machine_run_a_stack_each_at_the_same_time(tmp_path: Path) -> None:
    python, variables = python_for_somebody()
    home = Path(subprocess.check_output(["mktemp", "-d", "/tmp/home-XXXXXX"], text=True).strip())
    entry = pwd.getpwnam(SOMEBODY)
    os.chown(home, entry.pw_uid, entry.pw_gid)
    identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": home}
    variables = {**variables, "HOME": str(home)}
    try:
        with (
            stack_on(tmp_path / "data"),
            serving_process(home / "data", python, env=variables, **identity) as (theirs, facts),
        ):
            owners = {psutil.Process(pid).uids().real for pid in facts["pids"]}
            theirs.communicate("stop\n", timeout=60)
        assert owners == {entry.pw_uid}
        assert theirs.returncode == 0
    finally:
        subprocess.run(["rm", "-r", home], check=True)


@contextmanager
def serving_process(
    data: Path, python: str = sys.executable, **options: Any
) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A stack in a process of its own, once it runs, and what it says about itself."""
    options.setdefault("env", {**os.environ, "PYTHONPATH": str(ROOT)})
    with subprocess.Popen(
        [python, serving.__file__, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    ) as process:
        assert process.stdout is not None
        try:
            while not (line := process.stdout.readline()).startswith("{"):
                assert line, "the stack did not start"
            yield process, json.loads(line)
        finally:
            if process.poll() is None:
                process.terminate()


def python_for_somebody() -> tuple[str, dict[str, str]]:
    """An interpreter that another user can run, with our packages; skips where there is none."""
    paths = [
        str(ROOT),
        *(sysconfig.get_path(kind) for kind in ("purelib", "platlib")),
        os.environ.get("PYTHONPATH", ""),
    ]
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(paths)}
    entry = pwd.getpwnam(SOMEBODY)
    for python in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        try:
            subprocess.run(
                [python, "-c", "import pipeline.local.stack"],
                user=entry.pw_uid, group=entry.pw_gid, extra_groups=[], env=variables, cwd="/", check=True,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            continue
        return python, variables
    pytest.skip(f"no interpreter with our packages that user {SOMEBODY} can run")
