"""The bare side of the load: tasks that wait together are published together, answers come by PUBLISH."""

from __future__ import annotations

import itertools
import os
import threading
import uuid
from collections import deque
from collections.abc import Callable

import redis

from stress.overhead.bare.app import answer, app
from stress.overhead.load import PATIENCE


class BareCaller:
    """Whoever comes first publishes; whoever comes meanwhile is published by the next one, all at once."""

    def __init__(self) -> None:
        self._channel = f"bare-{uuid.uuid4().hex}"
        self._numbers = itertools.count()
        self._waiting: dict[int, threading.Lock] = {}
        self._queue: deque[tuple[str, str, str, int]] = deque()
        self._publishing = threading.Lock()
        self._producer = app.producer_pool.acquire()
        self._notices = redis.Redis.from_url(os.environ["BARE_BROKER_URL"]).pubsub()  # type: ignore[no-untyped-call]
        self._notices.subscribe(self._channel)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def submit(self, user: str, text: str) -> Callable[[], None]:
        number = next(self._numbers)
        answered = threading.Lock()
        answered.acquire()
        self._waiting[number] = answered
        self._queue.append((user, text, self._channel, number))
        with self._publishing:
            self._publish()

        def wait() -> None:
            if not answered.acquire(timeout=PATIENCE):
                raise TimeoutError(f"no answer to task {number}")

        return wait

    def close(self) -> None:
        self._notices.unsubscribe()
        self._listener.join(PATIENCE)
        self._notices.close()
        self._producer.release()

    def _publish(self) -> None:
        if not self._queue:
            return  # whoever held the lock before has published this one too
        with self._producer.batch():
            while self._queue:
                # Without argsrepr and kwargsrepr given, Celery spends a tenth of its time on printing them.
                answer.apply_async(self._queue.popleft(), producer=self._producer, argsrepr="", kwargsrepr="")

    def _listen(self) -> None:
        for notice in self._notices.listen():
            if notice["type"] == "message":
                self._waiting.pop(int(notice["data"])).release()
            elif notice["type"] == "unsubscribe":
                return
