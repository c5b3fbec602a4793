"""The sending processes of a run: started, let go, listened to, stopped."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import psutil

from stress.load.order import Order
from stress.load.record import Record

#: The folder that holds the package `stress`.
HOME = Path(__file__).resolve().parents[2]

#: Seconds for a sender to be ready, and to end.
PATIENCE = 60.0

#: Seconds between the word and the start, in which it reaches all senders.
NOTICE = 0.1

Hear = Callable[[Sequence[Record]], None]


class SenderLost(RuntimeError):
    """A sending process ended on its own; what was measured is worth nothing."""


class Sender:
    """One of them. What it tells of requests goes to `hear`, from a thread of its own."""

    def __init__(self, order: Order, environment: Mapping[str, str], hear: Hear) -> None:
        self._hear = hear
        self._said: queue.Queue[str | None] = queue.Queue()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stress.load.sender"],
            env={
                **environment,
                "PYTHONPATH": os.pathsep.join(filter(None, [str(HOME), environment.get("PYTHONPATH")])),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C is for us: see `stop`
        )
        self.process = psutil.Process(self._process.pid)
        threading.Thread(target=self._listen, name="sender", daemon=True).start()
        self.tell(order.to_json())

    def tell(self, command: dict[str, Any]) -> None:
        """Give it a line. Raises SenderLost."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._lost() from None

    def await_word(self, timeout: float | None = None) -> bool:
        """Whether it said `ready` or `done` within so many seconds. Raises SenderLost."""
        try:
            word = self._said.get(timeout=timeout)
        except queue.Empty:
            return False
        if word is None:
            raise self._lost()
        return True

    def end(self) -> None:
        """Have it end, or end it."""
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
        self._errors.close()

    def kill(self) -> None:
        """End it at once."""
        assert self._process.stdin is not None
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._errors.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            with self._process.stdout as lines:
                for line in lines:
                    said = json.loads(line)
                    if "records" in said:
                        self._hear([Record(*record) for record in said["records"]])
                    else:
                        self._said.put("ready" if "ready" in said else "done")
        finally:
            self._said.put(None)  # also where a line could not be read: nobody is to wait for the next

    def _lost(self) -> SenderLost:
        self._process.kill()  # where it lives, it cannot be understood
        self._errors.seek(0)
        fault = SenderLost(f"a sender ended with status {self._process.wait(PATIENCE)}")
        fault.add_note(self._errors.read()[-4000:].decode(errors="replace"))
        return fault


class Senders:
    """All of a run's; each sends its share."""

    def __init__(self, senders: Sequence[Sender]) -> None:
        self._senders = senders

    @property
    def processes(self) -> list[psutil.Process]:
        return [sender.process for sender in self._senders]

    def go(self) -> float:
        """Send the load once. Returns when it begins, by the monotonic clock."""
        start = time.monotonic() + NOTICE
        for sender in self._senders:
            sender.tell({"go": start})
        return start

    def stop(self) -> None:
        """Send nothing new; what is under way is waited for by `join`."""
        for sender in self._senders:
            sender.tell({"stop": True})

    def join(self, *, tick: Callable[[], None] = lambda: None, every: float = 0.25) -> None:
        """Until all have come to the end of the load; `tick` is called meanwhile. Raises SenderLost, of whichever
        sender it is and however long the others have still to send."""
        waited_for = list(self._senders)
        while True:
            # the first is waited for, so that this does not spin; all others are looked at
            ended = [one for number, one in enumerate(waited_for) if one.await_word(0 if number else every)]
            waited_for = [one for one in waited_for if one not in ended]
            if not waited_for:
                return
            tick()


@contextmanager
def senders(order: Order, count: int, environment: Mapping[str, str], hear: Hear) -> Iterator[Senders]:
    """So many processes, ready to go. Raises SenderLost."""
    started: list[Sender] = []
    try:
        for share in range(count):
            started.append(Sender(replace(order, share=share, of=count), environment, hear))  # noqa: PERF401 - one by one
        made = Senders(started)
        made.join()
        yield made
    except BaseException:
        for sender in started:
            sender.kill()
        raise
    for sender in started:
        sender.end()
