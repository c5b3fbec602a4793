"""The proof of erasing: markers are planted wherever words of a user go, and looked for wherever anything is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
import zstandard

from pipeline import Handle, RequestFailed, RequestNotFound
from pipeline.archive.assembly import archiver
from pipeline.providers.simulator import Simulator
from pipeline.store import erasures
from pipeline.store.erasures import Scope
from pipeline.transport.wire import TaskMessage, encode
from tests.faults.conftest import MakeFleet, provider_at
from tests.fleet import PATIENCE, Fleet
from tests.servers import Broker, eventually

#: What the user says who is to be erased, and the one who is to be kept.
MARKER, KEPT = "planted-marker-of-ada", "planted-marker-of-bob"

#: How each type of the broker's keys is read whole.
READERS: dict[bytes, Callable[[Any, bytes], object]] = {
    b"string": lambda client, key: client.get(key),
    b"list": lambda client, key: client.lrange(key, 0, -1),
    b"set": lambda client, key: client.smembers(key),
    b"zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
    b"hash": lambda client, key: client.hgetall(key),
    b"stream": lambda client, key: client.xrange(key),
}


def in_tables(fleet: Fleet, marker: str) -> set[str]:
    """The tables with a row that holds it."""
    tables = [row[0] for row in fleet.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    wanted = (f"%{marker}%", f"%{marker.encode().hex()}%")
    query = "SELECT count(*) FROM {} AS t WHERE t::text LIKE %s OR t::text LIKE %s"
    return {table for table in tables if fleet.scalar(query.format(table), *wanted)}


def in_cold_storage(folder: Path, marker: str) -> int:
    """How many objects hold it."""
    files = [one.read_bytes() for one in folder.iterdir()]
    return sum(marker.encode() in zstandard.ZstdDecompressor().decompress(data) for data in files)


def in_broker_keys(broker: Broker, marker: str) -> list[bytes]:
    """The keys that hold it, or bear it."""
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        keys = list(client.scan_iter())
        return [key for key in keys if marker in f"{key!r}{READERS[client.type(key)](client, key)}"]


def in_broker_files(broker: Broker, marker: str) -> bool:
    return any(marker.encode() in file.read_bytes() for file in broker.data.rglob("*") if file.is_file())


def converse(fleet: Fleet, user: str, marker: str) -> list[Handle]:
    """Turns of that user, one of which fails; all with the marker wherever a user's words can be."""
    metadata = {"note": marker}
    given: dict[str, Any] = {"user_id": user, "conversation_id": "illness", "agent": "chat", "metadata": metadata}
    handles = [fleet.ask(f"{marker} {nth}", **given, idempotency_key=f"{marker} {nth}") for nth in range(4)]
    assert marker in "".join(handles[0].stream(PATIENCE))  # the simulator quotes it
    assert all(marker in handle.result(PATIENCE).text for handle in handles)
    with pytest.raises(RequestFailed):
        fleet.ask(marker, user_id=user, conversation_id="illness", agent="raises").result(PATIENCE)
    return handles


def archive_all(fleet: Fleet) -> None:
    cold = archiver(fleet.settings, fleet.database)
    sessions = [row[0] for row in fleet.rows("SELECT id FROM sessions")]
    assert cold.archive(sessions, force=True, whole=True).archives == len(sessions)
    cold.close()


def keep_on_disk(broker: Broker) -> None:
    """As both kinds of a broker's files."""
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        client.config_set("save", "3600 1000000")
        client.save()
        client.execute_command("WAITAOF", 1, 0, 10_000)


def test_no_marker_is_left_in_any_table_object_broker_key_or_broker_file(
    database: str, broker: Broker, simulator: Simulator, make_fleet: MakeFleet, tmp_path: Path
) -> None:
    folder = tmp_path / "archives"
    fleet = make_fleet(database, broker.url, providers=provider_at(simulator.url), cold_storage_url=str(folder))
    fleet.start(1)
    streamed = converse(fleet, "ada", MARKER)[0].id
    converse(fleet, "bob", KEPT)
    archive_all(fleet)
    running, queued = (fleet.ask(MARKER, conversation_id="illness", agent="gate") for _ in range(2))
    fleet.worker_of(running)
    keep_on_disk(broker)

    everywhere = {"requests", "attempts", "summaries"}
    assert in_tables(fleet, MARKER) >= everywhere
    assert in_cold_storage(folder, MARKER) == 1
    assert in_broker_keys(broker, streamed)
    assert in_broker_files(broker, streamed)

    receipt = fleet.client.erase("ada")
    assert receipt.complete
    assert (receipt.requests, receipt.cancelled, receipt.archived) == (7, 2, 8)
    for handle in (running, queued):
        with pytest.raises(RequestNotFound):
            handle.result(PATIENCE)
    fleet.open_gate()
    let_go = f"[{running.id}] ignored"
    eventually(lambda: let_go in fleet.log(fleet.workers[0]), PATIENCE, what="the worker has let go of it")

    assert in_tables(fleet, MARKER) == set()
    assert in_cold_storage(folder, MARKER) == 0
    for trace in (MARKER, streamed):
        assert in_broker_keys(broker, trace) == []
        assert not in_broker_files(broker, trace)
    # of others everything is there
    assert in_tables(fleet, KEPT) >= everywhere
    assert in_cold_storage(folder, KEPT) == 1
    assert len(list(fleet.client.history("bob", "illness", include_archived=True))) == 8
    starts_anew(fleet)


def starts_anew(fleet: Fleet) -> None:
    """The same ids may be used again."""
    again = fleet.ask("Hello again", conversation_id="illness", agent="chat", idempotency_key=f"{MARKER} 0")
    assert "turn 1" in again.result(PATIENCE).text
    assert [one.number for one in fleet.client.history("ada", "illness")] == [1, 2]


def test_upkeep_finishes_what_nobody_finished(database: str, broker: Broker, make_fleet: MakeFleet) -> None:
    fleet = make_fleet(database, broker.url)
    fleet.start(1, "-Q", "normal,maintenance")
    fleet.ask(user_id=MARKER).result(PATIENCE)
    assert "sessions" in in_tables(fleet, MARKER)
    id_ = erasures.begin(fleet.database, Scope(MARKER), hold=0)  # and whoever did it is dead
    message = TaskMessage(task="pipeline.upkeep", id=str(uuid4()), queue="maintenance")
    fleet.client.redis.lpush("maintenance", encode(message, "test"))
    eventually(lambda: fleet.client.receipt(str(id_)).complete, PATIENCE, what="the erasure is complete")
    assert in_tables(fleet, MARKER) == set()
