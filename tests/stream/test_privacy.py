"""What lies in the broker: for how long, and what it is worth to who reads or changes it there."""

from __future__ import annotations

import redis

from pipeline.stream import Reader, StreamWriter, new_key, stream_name
from pipeline.stream.cipher import Cipher
from pipeline.stream.wire import Appender, Entry
from tests.servers import Broker, eventually

from .conftest import read_until


def test_a_stream_lives_its_time_and_no_longer(
    writer: StreamWriter, client: redis.Redis, request_id: str, key: bytes
) -> None:
    with writer.open(request_id, key, 1) as feed:
        feed.write("text")
    eventually(lambda: client.exists(stream_name(request_id)), what="the stream is there")
    assert 50 < int(client.ttl(stream_name(request_id))) <= 60


def test_nothing_in_the_broker_can_be_read(
    broker: Broker, writer: StreamWriter, client: redis.Redis, request_id: str, key: bytes
) -> None:
    planted = "the-planted-secret"
    with writer.open(request_id, key, 1) as feed:
        feed.write(planted)
        feed.write(planted)
    assert "".join(read_until(Reader(request_id, key), client, 2 * len(planted))) == 2 * planted
    names = list(client.scan_iter())
    assert names == [stream_name(request_id).encode()]
    assert planted not in repr(client.xrange(names[0]))
    files = [path for path in (broker.data / "appendonlydir").iterdir() if path.stat().st_size]
    written = b"".join(path.read_bytes() for path in files)
    assert request_id.encode() in written, "the file is the one that holds the stream"
    assert planted.encode() not in written
    assert key not in written


def test_what_was_altered_or_forged_is_left_out_and_counted(client: redis.Redis, request_id: str, key: bytes) -> None:
    name, cipher = stream_name(request_id), Cipher(request_id, key)
    whole = cipher.seal(1, 0, "text")
    other_request = Cipher("another", key).seal(1, 0, "text")
    entries = [
        Entry(name, 1, 0, whole[:-1] + bytes([whole[-1] ^ 1])),
        Entry(name, 1, 4, whole),  # moved
        Entry(name, 9, 0, whole),  # given to a later attempt
        Entry(name, 1, 0, other_request),
        Entry(name, 1, 0, b"short"),
        Entry(name, 1, 0, Cipher(request_id, new_key()).seal(1, 0, "text")),
        Entry(name, 1, 0, whole),
    ]
    Appender(client, 60).append(entries)
    client.xadd(name, {"f": "x", "nonsense": "1"})
    reader = Reader(request_id, key)
    assert reader.read(client, 1) == ["text"]
    assert reader.unreadable == 7


def test_a_stream_that_the_broker_refuses_spoils_no_other(client: redis.Redis, request_id: str, key: bytes) -> None:
    client.set(stream_name("taken"), "no stream")
    sealed = Cipher(request_id, key).seal(1, 0, "text")
    entries = [Entry(stream_name("taken"), 1, 0, sealed), Entry(stream_name(request_id), 1, 0, sealed)]
    assert Appender(client, 60).append(entries) == 1
    assert Reader(request_id, key).read(client, 1) == ["text"]
    assert Reader("taken", key).read(client, 0) == []
