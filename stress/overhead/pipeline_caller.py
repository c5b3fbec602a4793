"""The pipeline's side of the load: its client, as agent code uses it."""

from __future__ import annotations

from collections.abc import Callable

from pipeline import Client
from stress.overhead.load import PATIENCE


class PipelineCaller:
    """Submit a request, wait for its result."""

    def __init__(self) -> None:
        self._client = Client()

    def submit(self, user: str, text: str) -> Callable[[], None]:
        handle = self._client.submit(text, user_id=user, conversation_id="only", agent="sleeper")
        return lambda: _read(handle.result(timeout=PATIENCE).text)

    def close(self) -> None:
        self._client.close()


def _read(text: str) -> None:
    assert text == "answer"
