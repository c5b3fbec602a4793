"""The embedded Postgres: durable, private, and back after whatever ended it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import create_engine, text

from pipeline.local import accounts, folders, process
from pipeline.local.errors import LocalStackError, NotReady
from pipeline.local.postgres import Postgres
from tests.servers import SharedPostgres, copy_data, eventually

#: Starts a server on the data and sockets that it is told, says so, and dies without a chance to stop it.
LEAVES_A_SERVER = """
import os, signal, sys
from pathlib import Path
from pipeline.local.postgres import Postgres
postgres = Postgres(Path(sys.argv[1]), Path(sys.argv[2]))
postgres.start()
print(postgres.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def sockets(shared_postgres: SharedPostgres) -> Iterator[Path]:
    folder = folders.for_sockets(accounts.for_postgres(shared_postgres.seed))
    yield folder
    folders.remove_sockets(folder)


@pytest.fixture
def data(shared_postgres: SharedPostgres, tmp_path: Path) -> Path:
    """Data that a server has written, at the end of a path that is too long for a socket."""
    folder = tmp_path / ("long" * 30) / "postgres"
    folder.parent.mkdir()
    copy_data(shared_postgres.seed, folder)
    return folder


def test_new_data_are_made_with_durability_on_and_no_port_open(tmp_path: Path, sockets: Path) -> None:
    postgres = Postgres(tmp_path / "postgres", sockets)
    postgres.start()
    try:
        with psycopg.connect(postgres.url) as connection:
            wanted = {"fsync": "on", "synchronous_commit": "on", "listen_addresses": "", "server_encoding": "UTF8"}
            for name, value in wanted.items():
                assert connection.execute("SELECT current_setting(%s)", [name]).fetchone() == (value,)
        assert postgres.pid is not None
        assert not psutil.Process(postgres.pid).net_connections(kind="inet")
    finally:
        postgres.stop()


def test_its_url_serves_sqlalchemy_too(own_postgres: Postgres) -> None:
    engine = create_engine(own_postgres.url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_its_url_names_its_server_whatever_the_environment_says(
    own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "nowhere")
    assert own_postgres.is_ready()


def test_data_and_sockets_are_open_to_the_servers_user_alone(own_postgres: Postgres) -> None:
    for folder in (own_postgres.data, own_postgres.sockets):
        facts = folder.stat()
        assert stat.S_IMODE(facts.st_mode) == 0o700
        assert facts.st_uid != 0


def test_of_a_statement_that_failed_its_log_says_why_and_nothing_that_was_in_it(own_postgres: Postgres) -> None:
    with psycopg.connect(own_postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE said (words text PRIMARY KEY)")
        connection.execute("INSERT INTO said VALUES ('a secret')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO said VALUES ('a secret')")
    eventually(lambda: "duplicate key value" in own_postgres.log.read_text(), 10, what="it is logged")
    assert "a secret" not in own_postgres.log.read_text()


def test_what_was_committed_is_there_after_a_kill(own_postgres: Postgres) -> None:
    with psycopg.connect(own_postgres.url) as connection:
        connection.execute("CREATE TABLE kept ()")
    own_postgres.restart()
    with psycopg.connect(own_postgres.url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_server_stops_although_clients_are_connected_and_leaves_no_socket(own_postgres: Postgres) -> None:
    with psycopg.connect(own_postgres.url, autocommit=True):
        own_postgres.stop()
    assert not own_postgres.alive
    assert not list(own_postgres.sockets.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_server_ends_in_order_when_its_owner_is_killed(data: Path, sockets: Path) -> None:
    pid = _leave_a_server(data, sockets)
    eventually(lambda: not process.at_work_in(data, "postgres"), what=f"process {pid} ends")
    assert "database system is shut down" in data.with_name("postgres.log").read_text()


def test_a_server_that_outlived_its_owner_is_stopped_before_the_next_one_starts(data: Path, sockets: Path) -> None:
    orphan, postgres = Postgres(data, sockets), Postgres(data, sockets)
    orphan.start()
    try:
        postgres.start()
        assert not orphan.alive
        assert postgres.is_ready()
    finally:
        orphan.stop()
        postgres.stop()


def test_a_stale_pid_file_whose_number_lives_on_in_another_process_is_no_obstacle(data: Path, sockets: Path) -> None:
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n1\n5432\n{sockets}\n\n1 1\nready\n")
    postgres = Postgres(data, sockets)
    postgres.start()
    postgres.stop()


def test_data_of_a_version_that_is_not_installed_are_refused_by_name(data: Path, sockets: Path) -> None:
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(LocalStackError, match="written by Postgres 9; here is 18"):
        Postgres(data, sockets).start()


def test_a_server_that_cannot_start_says_why(data: Path, sockets: Path) -> None:
    (data / "postgresql.auto.conf").write_text("shared_buffers = 'nonsense'\n")
    with pytest.raises(NotReady, match="invalid value for parameter"):
        Postgres(data, sockets).start()


def _leave_a_server(data: Path, sockets: Path) -> int:
    command = [sys.executable, "-c", LEAVES_A_SERVER, str(data), str(sockets)]
    return int(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
