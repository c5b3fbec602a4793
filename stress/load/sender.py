"""The process that sends, a share of the load: `python -m stress.load.sender`, with an order on its standard input.

It says `ready`, and for each `go` (a moment of the monotonic clock) sends the load once, telling what came back as it
comes, and `done`. `stop` has it send nothing new; at the end of its input it ends. All of it is JSON, one value a line.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from pipeline import Client
from stress.load.arrivals import arrivals
from stress.load.asking import Asker, Question
from stress.load.order import Order
from stress.load.record import Record
from stress.plan import Closed, Open

#: Seconds between two reports of what came back.
FLUSH = 0.2

Tell = Callable[[dict[str, Any]], None]


class Sender:
    """Sends this process's share of an order."""

    def __init__(self, asker: Asker, order: Order) -> None:
        self._asker = asker
        self._order = order
        self._asked: dict[str, int] = {}
        self._records: list[Record] = []
        self.stopped = asyncio.Event()

    async def send(self, start: float) -> None:
        """The load, once, from that moment on."""
        load = self._order.load
        await (self._closed(load, start) if isinstance(load, Closed) else self._open(load, start))

    def take(self) -> list[Record]:
        """What came back since it was last asked."""
        taken, self._records = self._records, []
        return taken

    async def _closed(self, load: Closed, start: float) -> None:
        share = range(self._order.share, load.users, self._order.of)
        async with asyncio.TaskGroup() as users:
            for number in share:
                users.create_task(self._converse(load, number, start + load.spread * number / load.users))

    async def _converse(self, load: Closed, user: int, due: float) -> None:
        end = due + load.duration if load.duration else float("inf")
        sent = 0
        async with asyncio.TaskGroup() as waiting:
            while due < end and (load.duration or sent < load.requests) and await self._is_due(due):
                asked = self._ask(user, f"talk {sent % load.conversations}", due)
                if load.wait:
                    await asked
                    due = time.monotonic() + load.delay
                else:
                    waiting.create_task(asked)
                    due += load.delay
                sent += 1

    async def _open(self, load: Open, start: float) -> None:
        async with asyncio.TaskGroup() as waiting:
            for number, after in enumerate(arrivals(load.stages)):
                user = number % load.users
                # by user, as in the closed model: who sends for one is who numbers what it asks
                if user % self._order.of != self._order.share:
                    continue
                if not await self._is_due(start + after):
                    break
                waiting.create_task(self._ask(user, "talk", start + after))

    async def _is_due(self, when: float) -> bool:
        """Wait until then. False when nothing more is to be sent."""
        try:
            async with asyncio.timeout(max(0.0, when - time.monotonic())):
                await self.stopped.wait()
        except TimeoutError:
            return True
        return False

    def _ask(self, user: int, talk: str, due: float) -> Coroutine[Any, Any, None]:
        who = f"{self._order.run}-{user}"
        number = self._asked[who + talk] = self._asked.get(who + talk, 0) + 1
        return self._record(Question(who, talk, number), due)

    async def _record(self, question: Question, due: float) -> None:
        record = await self._asker.ask(question, due)
        self._records.append(record)


async def serve(order: Order, tell: Tell) -> None:
    """Do as the lines on standard input say."""
    with Client() as client:
        asker = Asker(client, order.agent, order.patience, order.load.on_busy)
        asker.connect()
        sender, commands = Sender(asker, order), asyncio.Queue[dict[str, Any]]()
        threading.Thread(target=_listen, args=(asyncio.get_running_loop(), sender, commands), daemon=True).start()
        tell({"ready": True})
        while start := (await commands.get()).get("go"):
            await _tell_of(sender, start, tell)
        asker.close()


async def _tell_of(sender: Sender, start: float, tell: Tell) -> None:
    sending = asyncio.create_task(sender.send(start))
    while not sending.done():
        await asyncio.wait([sending], timeout=FLUSH)
        if records := sender.take():
            tell({"records": records})
    await sending
    tell({"done": True})


def _listen(loop: asyncio.AbstractEventLoop, sender: Sender, commands: asyncio.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        command = json.loads(line)
        if "stop" in command:
            loop.call_soon_threadsafe(sender.stopped.set)
        else:
            loop.call_soon_threadsafe(commands.put_nowait, command)
    loop.call_soon_threadsafe(commands.put_nowait, {})


def main() -> None:
    """The order is the first line."""
    order = Order.from_json(json.loads(sys.stdin.readline()))
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)  # the client logs on standard output, which is ours to speak on
        asyncio.run(serve(order, lambda said: print(json.dumps(said), file=out, flush=True)))


if __name__ == "__main__":
    main()
