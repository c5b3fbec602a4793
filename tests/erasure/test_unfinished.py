"""An erasure goes on whatever dies, or is away: from the first committed row to the last object."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from pipeline import Client
from pipeline.archive.archiver import Archiver
from pipeline.archive.names import object_name
from pipeline.archive.storage import Folder
from pipeline.broker import connect
from pipeline.erasure import traces
from pipeline.store import archives, erasures, invariants
from pipeline.store.database import Database
from pipeline.store.erasures import Scope
from pipeline.store.erasures.handfuls import SESSIONS
from tests.archive.conftest import MakeArchiver
from tests.archive.library import Library, rules
from tests.servers import Broker, eventually
from tests.store.desk import Desk, Sql, answered, count

Objects = Callable[[], list[str]]

ADA = Scope("ada")


def wait_over(sql: Sql) -> None:
    """Whatever waits to be tried again may be tried now."""
    sql.execute("UPDATE erasures SET next_try_at = now() WHERE finished_at IS NULL")
    sql.execute("UPDATE condemned_objects SET due_at = now()")


def goes_on(client: Client, sql: Sql, id_: UUID | str) -> None:
    """Somebody else finishes it, and then nothing is left."""
    wait_over(sql)
    assert client._eraser.resume() == 1
    assert client.receipt(str(id_)).complete
    assert [count(sql, table) for table in ("sessions", "messages", "archives", "condemned_objects")] == [0] * 4
    assert client._eraser.resume() == 0


def test_one_that_was_only_begun_is_finished(client: Client, library: Library, store: Database, sql: Sql) -> None:
    library.converse(1)
    id_ = erasures.begin(store, ADA)
    assert client._eraser.resume() == 0  # whoever began it may be at work
    goes_on(client, sql, id_)
    assert client.receipt(str(id_)).messages == 2


def test_one_that_was_left_between_two_sessions_is_finished(
    client: Client, library: Library, store: Database, sql: Sql
) -> None:
    first, _ = (library.converse(1, conversation=name) for name in ("a", "b"))
    id_ = erasures.begin(store, ADA)
    for _ in range(2):  # the second time does nothing
        erasures.erase(store, id_, [first], streams_kept=600, concurrency=3)
    assert client.receipt(str(id_)).sessions == 1
    goes_on(client, sql, id_)
    assert client.receipt(str(id_)).sessions == 2


def test_one_that_was_left_before_its_objects_is_finished(
    client: Client, library: Library, archiver: Archiver, store: Database, objects: Objects
) -> None:
    session = library.converse(4)
    archiver.archive([session])
    id_ = erasures.begin(store, ADA)
    erasures.erase(store, id_, [session], streams_kept=600, concurrency=3)
    erasures.rows_gone(store, id_, [session])
    assert len(objects()) == 1
    goes_on(client, library.sql, id_)
    assert objects() == []


def test_asking_again_goes_on_with_it(client: Client, library: Library, store: Database) -> None:
    library.converse(1)
    id_ = erasures.begin(store, ADA)
    library.converse(1, conversation="later")
    receipt = client.erase("ada")
    assert (receipt.id, receipt.sessions, receipt.complete) == (str(id_), 2, True)


def test_what_starts_after_it_was_begun_is_kept(client: Client, library: Library, store: Database, sql: Sql) -> None:
    library.converse(1)
    id_ = erasures.begin(store, ADA)
    later = library.converse(1, conversation="later")
    wait_over(sql)
    client._eraser.resume()
    assert client.receipt(str(id_)).sessions == 1
    library.assert_whole(later)


def test_killed_at_any_moment_it_is_finished(
    client: Client, library: Library, archiver: Archiver, objects: Objects
) -> None:
    sql = library.sql
    sessions = [library.fill(6, conversation=f"{number}") for number in range(SESSIONS + 10)]
    archiver.archive(sessions)
    assert len(objects()) == len(sessions)
    program = "from pipeline import Client; Client().erase('ada')"
    environment = {
        **os.environ,
        "CITE_AGENT_DATABASE_URL": client._settings.database,
        "CITE_AGENT_BROKER_URL": client._settings.broker,
        "CITE_AGENT_COLD_STORAGE_URL": client._settings.cold_storage,
    }
    with psycopg.connect(client._settings.database) as holder:
        holder.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [max(sessions)])  # so far it comes
        with subprocess.Popen([sys.executable, "-c", program], env=environment) as process:
            eventually(lambda: count(sql, "sessions") == 10, 60, what="the first handful is erased")
            process.send_signal(signal.SIGKILL)
    (id_,) = sql.execute("SELECT id::text FROM erasures").fetchone() or ("",)
    others = "pg_stat_activity WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()"
    eventually(lambda: count(sql, others) == 0, 60, what="the handful that it had asked for is over")
    goes_on(client, sql, id_)
    assert objects() == []
    receipt = client.receipt(id_)
    assert (receipt.sessions, receipt.messages, receipt.archives) == (60, 360, 60)


def test_while_storage_fails_it_is_not_complete(
    client: Client, library: Library, archiver: Archiver, folder: Path, objects: Objects
) -> None:
    archiver.archive([library.converse(4)])
    folder.rename(folder.with_suffix(".away"))
    folder.write_text("this is no folder")
    receipt = client.erase("ada")
    assert not receipt.complete
    assert count(library.sql, "messages") == 0
    assert library.sql.execute("SELECT failures FROM condemned_objects WHERE due_at > now()").fetchall() == [(1,)]
    folder.unlink()
    folder.with_suffix(".away").rename(folder)
    goes_on(client, library.sql, receipt.id)
    assert objects() == []


def test_while_the_broker_is_away_it_is_not_complete(client: Client, desk: Desk, sql: Sql, broker: Broker) -> None:
    desk.running()
    broker.kill()
    receipt = client.erase("ada")
    assert not receipt.complete
    assert receipt.requests == 1
    broker.start()
    goes_on(client, sql, receipt.id)


def test_a_broker_that_takes_long_to_write_its_files_anew_does_so_once_and_is_asked_whether_it_has(
    client: Client, desk: Desk, sql: Sql, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "PATIENCE", 0.2)
    with closing(connect(broker.url, 5.0)) as server:
        server.mset({f"key {n}": "large" for n in range(10)})
        server.config_set("rdb-key-save-delay", 200_000)  # a rewrite takes two seconds
        try:
            server.bgrewriteaof()  # somebody's own, from before the removal
            before = server.info()["aof_rewrites"]
            desk.running()
            receipt = client.erase("ada")
            assert not receipt.complete

            def come_again() -> bool:
                wait_over(sql)
                client._eraser.resume()
                return client.receipt(receipt.id).complete

            eventually(come_again, 60, what="the files are written anew")
            assert server.info()["aof_rewrites"] == before + 1
            assert server.keys("cite_agent:erasing:*") == []
        finally:
            server.config_set("rdb-key-save-delay", 0)
            server.flushall()


@dataclass
class Gated:
    """A folder that is slow: what is put there is there once the gate opens."""

    folder: Folder
    reached: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)

    def put(self, name: str, data: bytes) -> None:
        self.reached.set()
        assert self.gate.wait(30)
        self.folder.put(name, data)

    def __getattr__(self, verb: str) -> Callable[..., object]:
        found: Callable[..., object] = getattr(self.folder, verb)
        return found


def test_an_archive_that_is_being_written_meanwhile_is_removed_by_its_writer(
    client: Client, library: Library, make_archiver: MakeArchiver, storage: Folder, objects: Objects
) -> None:
    session = library.converse(4)
    slow = Gated(storage)
    with ThreadPoolExecutor(1) as threads:
        archiving = threads.submit(make_archiver(storage=slow).archive, [session])
        assert slow.reached.wait(30)
        receipt = client.erase("ada")
        assert not receipt.complete  # for all that anybody knows it may still be written
        slow.gate.set()
        report = archiving.result(30)
    assert (report.archives, report.failed) == (0, 0)
    assert objects() == []
    library.sql.execute("UPDATE condemned_objects SET written_until = now()")
    goes_on(client, library.sql, receipt.id)


def test_an_archive_whose_writer_dies_after_the_erasure_is_removed(
    client: Client, library: Library, storage: Folder, objects: Objects
) -> None:
    session = library.converse(4)
    found = archives.candidates(library.database, [session])
    names = [(one, object_name(one.user_id, one.conversation_id, one.archived_at, "none")) for one in found]
    (taken,) = archives.take(library.database, names, rules())
    receipt = client.erase("ada")
    storage.put(taken.name, b"what was said")
    (storage.folder / f"{taken.name}#1").write_bytes(b"half of what was sa")
    wait_over(library.sql)
    client._eraser.resume()  # too early: it may be written once more
    assert not client.receipt(receipt.id).complete
    storage.put(taken.name, b"what was said")
    library.sql.execute("UPDATE condemned_objects SET written_until = now()")
    goes_on(client, library.sql, receipt.id)
    assert objects() == []


@pytest.mark.parametrize("scope", [Scope("ada"), Scope("ada", "0")], ids=["user", "session"])
def test_submitting_answering_archiving_and_erasing_at_once(
    client: Client, library: Library, archiver: Archiver, scope: Scope
) -> None:
    until = threading.Event()
    turns = 0

    def converse(name: str) -> None:
        nonlocal turns
        while not until.is_set():
            handle = client.submit("a question", user_id="ada", conversation_id=name)
            turns += 1
            library.desk.end(*(answered(claimed) for claimed in library.desk.claim(UUID(handle.id))))

    def archive() -> None:
        while not until.is_set():
            archiver.archive(sessions_of(library.database))

    with ThreadPoolExecutor(4) as threads:
        work = [*(threads.submit(converse, str(number)) for number in range(3)), threads.submit(archive)]
        receipts = [client.erase(scope.user_id, scope.conversation_id) for _ in range(15)]
        until.set()
        for one in work:
            one.result(60)
    assert sum(receipt.messages for receipt in receipts) > 0
    assert turns > 15
    assert invariants.check(library.database) == []
    for session in sessions_of(library.database):
        library.assert_whole(session)


def sessions_of(database: Database) -> list[int]:
    with database.connection() as connection:
        return [row[0] for row in connection.execute("SELECT id FROM sessions")]
