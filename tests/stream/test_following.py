"""A writer and readers on a real broker that breaks."""

from __future__ import annotations

import asyncio
import threading
import time
from uuid import uuid4

import redis

from pipeline import metrics
from pipeline.broker import aconnect, connect
from pipeline.stream import Position, Reader, StreamWriter, Text, new_key, stream_name, wake
from pipeline.stream.writer import RESTARTS
from tests.servers import Broker, eventually, quickest

from .conftest import TIMEOUT, cut_connections, read_until


def test_the_first_piece_comes_at_once(writer: StreamWriter, client: redis.Redis) -> None:
    def first() -> float:
        request_id, key = str(uuid4()), new_key()
        with writer.open(request_id, key, 1) as feed:
            written = time.monotonic()
            feed.write("0")
            assert Reader(request_id, key).read(client, 5) == ["0"]
            return time.monotonic() - written

    assert quickest(first, 1) < 1


def test_text_comes_in_order_and_what_comes_together_is_joined(
    writer: StreamWriter, client: redis.Redis, request_id: str, key: bytes
) -> None:
    reader = Reader(request_id, key)
    with writer.open(request_id, key, 1) as feed:
        feed.write("0")
        assert reader.read(client, 5) == ["0"]
        for number in range(1, 50):
            feed.write(f" {number}")
        whole = " ".join(str(number) for number in range(50))
        assert "0" + "".join(read_until(reader, client, len(whole))) == whole
    assert client.xlen(stream_name(request_id)) < 10, "pieces that come together are joined"


def test_the_end_of_an_attempt_wakes_its_readers(
    writer: StreamWriter, client: redis.Redis, request_id: str, key: bytes
) -> None:
    reader = Reader(request_id, key)
    feed = writer.open(request_id, key, 1)
    feed.write("all")
    assert reader.read(client, 5) == ["all"]
    threading.Timer(0.1, feed.close).start()
    began = time.monotonic()
    assert reader.read(client, 20) == []
    assert time.monotonic() - began < 10


def test_readers_can_be_woken_by_anyone(admin: redis.Redis, client: redis.Redis, request_id: str, key: bytes) -> None:
    reader = Reader(request_id, key)
    waking = threading.Timer(0.1, lambda: wake(admin, [request_id], keep=60))
    waking.start()
    began = time.monotonic()
    assert reader.read(client, 20) == []
    assert time.monotonic() - began < 10
    waking.join()
    assert 0 < int(client.ttl(stream_name(request_id))) <= 60


def test_a_new_attempt_is_marked_and_the_old_one_is_heard_no_more(
    writer: StreamWriter, client: redis.Redis, request_id: str, key: bytes
) -> None:
    reader = Reader(request_id, key)
    old, new = writer.open(request_id, key, 4), writer.open(request_id, key, 6)
    old.write("first try")
    assert [text.restarted for text in read_until(reader, client, 9)] == [False]
    new.write("second")
    (marked,) = read_until(reader, client, 6)
    assert (marked, marked.restarted) == ("second", True)
    old.write(", goes on")
    new.write(", too")
    (rest,) = read_until(reader, client, 11)
    assert (rest, rest.restarted, reader.position.fence) == (", too", False, 6 * RESTARTS)


def test_a_text_that_begins_anew_within_an_attempt_is_marked_and_what_waited_of_the_old_one_is_not_sent(
    writer: StreamWriter, client: redis.Redis, request_id: str, key: bytes
) -> None:
    reader, feed = Reader(request_id, key), writer.open(request_id, key, 1)
    feed.write("Let me see. Knuth, I thi")
    assert "".join(read_until(reader, client, 24)) == "Let me see. Knuth, I thi"
    feed.write("nk")
    feed.restart("Let me see. ")
    feed.write("Dijkstra.")
    texts = read_until(reader, client, 21)
    *_, marked = [index for index, text in enumerate(texts) if text.restarted]
    assert "".join(texts[marked:]) == "Let me see. Dijkstra."
    later = writer.open(request_id, key, 2)
    later.write("Hoare.")
    (anew,) = read_until(reader, client, 6)
    assert (anew, anew.restarted) == ("Hoare.", True)


def test_readers_and_writer_survive_the_loss_of_their_connections(
    admin: redis.Redis, writer: StreamWriter, client: redis.Redis, request_id: str, key: bytes
) -> None:
    reader, shown = Reader(request_id, key), ""
    feed = writer.open(request_id, key, 1)
    for number in range(10):
        feed.write(f"{number}, ")
        shown += "".join(read_until(reader, client, 3 * number + 2))
        cut_connections(admin)
    cutting = threading.Timer(0.1, cut_connections, [admin])
    cutting.start()
    threading.Timer(0.3, lambda: feed.write("end")).start()
    shown += "".join(read_until(reader, client, 33))
    cutting.join()
    assert shown == "".join(f"{number}, " for number in range(10)) + "end"
    assert reader.gaps == []
    assert writer.dropped == 0


def test_asyncio_code_reads_the_same_through_a_lost_connection(
    admin: redis.Redis, broker: Broker, writer: StreamWriter, request_id: str, key: bytes
) -> None:
    feed = writer.open(request_id, key, 1)

    async def follow() -> list[Text]:
        client = aconnect(broker.url, TIMEOUT)
        reader, shown = Reader(request_id, key), list[Text]()
        feed.write("one ")
        while reader.position.offset < 4:
            shown += await reader.aread(client, 1)
        waiting = asyncio.create_task(reader.aread(client, 5))
        blocked = lambda: admin.info("clients")["blocked_clients"] == 1  # noqa: E731
        await asyncio.to_thread(eventually, blocked, what="it waits in the broker")
        await asyncio.to_thread(cut_connections, admin)
        feed.write("two")
        shown += await waiting
        await client.aclose()
        return [*shown, *reader.finish("one two three")]

    assert asyncio.run(follow()) == ["one ", "two", " three"]


def test_a_reader_goes_on_elsewhere_from_a_position(
    writer: StreamWriter, client: redis.Redis, request_id: str, key: bytes
) -> None:
    feed = writer.open(request_id, key, 1)
    feed.write("one ")
    first = Reader(request_id, key)
    read_until(first, client, 4)
    feed.write("two")
    second = Reader(request_id, key, first.position)
    assert read_until(second, client, 7) == ["two"]
    assert second.position.offset == 7
    assert second.finish("one two three") == [" three"]
    assert Reader(request_id, key, Position()).read(client, 1) == ["one ", "two"]


def test_after_the_broker_was_emptied_the_reader_is_told_of_the_gap_and_fills_up_from_the_answer(
    broker: Broker, writer: StreamWriter, client: redis.Redis, request_id: str, key: bytes
) -> None:
    early, late = Reader(request_id, key), Reader(request_id, key)
    feed = writer.open(request_id, key, 1)
    feed.write("seen ")
    shown = read_until(early, client, 5)
    broker.flush()
    feed.write("after")
    eventually(lambda: client.exists(stream_name(request_id)), what="the stream is there again")
    assert int(client.ttl(stream_name(request_id))) > 0, "with an end of its time"
    assert early.read(client, 5) == ["after"], "one who was not behind has lost nothing"
    assert late.read(client, 5) == []
    assert [gap.missing for gap in late.gaps] == [5]
    assert "".join(shown) + "after" == "".join(late.finish("seen after"))


def test_a_broker_that_dies_and_comes_back_loses_no_text(
    broker: Broker, writer: StreamWriter, client: redis.Redis, request_id: str, key: bytes
) -> None:
    reader = Reader(request_id, key)
    feed = writer.open(request_id, key, 1)
    feed.write("before ")
    shown = read_until(reader, client, 7)
    broker.kill()
    feed.write("while ")
    feed.write("away ")
    assert reader.read(client, 0.2) == []
    eventually(lambda: writer.faults, what="the writer notices")
    broker.restart()
    feed.write("after")
    shown += read_until(reader, client, 23)
    assert "".join(shown) == "before while away after"
    assert (writer.dropped, reader.gaps) == (0, [])


def test_a_frozen_broker_holds_up_no_agent(broker: Broker, client: redis.Redis, request_id: str, key: bytes) -> None:
    reader, patience = Reader(request_id, key), 30.0
    with connect(broker.url, patience) as patient:
        writer = StreamWriter(patient, keep=60)
        writer.start()
        feed = writer.open(request_id, key, 1)
        broker.freeze()
        began = time.monotonic()
        for _ in range(200):
            feed.write("word ")
        assert time.monotonic() - began < patience / 3
        broker.thaw()
        assert "".join(read_until(reader, client, 1000)) == "word " * 200
        writer.stop(5)


def test_what_is_written_while_the_broker_is_frozen_comes_when_it_thaws(
    broker: Broker, writer: StreamWriter, client: redis.Redis, request_id: str, key: bytes
) -> None:
    reader = Reader(request_id, key)
    feed = writer.open(request_id, key, 1)
    broker.freeze()
    for _ in range(200):
        feed.write("word ")
    assert reader.read(client, 0.1) == []
    eventually(lambda: writer.faults, what="the writer notices")
    broker.thaw()
    assert "".join(read_until(reader, client, 1000)) == "word " * 200


def test_text_of_an_ended_attempt_does_not_wait_for_the_broker(
    broker: Broker, writer: StreamWriter, request_id: str, key: bytes
) -> None:
    broker.kill()
    with writer.open(request_id, key, 1) as feed:
        feed.write("late")
    eventually(lambda: writer.dropped == 4, what="it is dropped and counted")
    feed.write("and what follows is nothing")
    assert writer.dropped == 4


def test_memory_for_a_broker_that_stays_away_is_bounded(broker: Broker, writer: StreamWriter) -> None:
    broker.kill()
    feeds = [writer.open(f"request-{number}", new_key(), 1) for number in range(24)]
    for feed in feeds:
        feed.write("x" * (1 << 20))
        feed.write("y")
    assert writer.dropped >= (8 << 20)
    assert sum(feed.backlog.size for feed in feeds) <= 1 << 24


def test_stopping_sends_what_waits(broker: Broker, client: redis.Redis, request_id: str, key: bytes) -> None:
    writer = StreamWriter(client, keep=60)
    writer.start()
    feed = writer.open(request_id, key, 1)
    for word in ("some ", "last ", "words"):
        feed.write(word)
    writer.stop(5)
    assert "".join(Reader(request_id, key).read(client, 0)) == "some last words"


def test_a_writer_without_work_leaves_the_broker_alone(
    admin: redis.Redis, writer: StreamWriter, request_id: str, key: bytes
) -> None:
    with writer.open(request_id, key, 1) as feed:
        feed.write("text")
    eventually(lambda: admin.xlen(stream_name(request_id)) >= 2, what="text and end are sent")
    commands = admin.info("stats")["total_commands_processed"]
    time.sleep(0.3)  # that nothing happens cannot be waited for
    assert admin.info("stats")["total_commands_processed"] <= commands + 1


def test_each_look_that_the_broker_does_not_answer_is_counted(
    broker: Broker, client: redis.Redis, request_id: str, key: bytes
) -> None:
    counted = metrics.BROKER_FAULTS.labels("follow")
    before = counted._value.get()
    broker.kill()
    assert Reader(request_id, key).read(client, 0) == []
    assert counted._value.get() == before + 1


def test_half_a_surrogate_pair_passes_and_offsets_count_characters(
    writer: StreamWriter, client: redis.Redis, request_id: str, key: bytes
) -> None:
    reader = Reader(request_id, key)
    with writer.open(request_id, key, 1) as feed:
        feed.write("𝄞é")
        feed.write("\ud83d")
        feed.write("end")
        assert "".join(read_until(reader, client, 6)) == "𝄞é\ud83dend"
