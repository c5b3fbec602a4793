"""What must not be in a log is taken out of it, whoever wrote the line."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

from structlog.typing import EventDict, WrappedLogger

from pipeline.settings import Settings

#: What stands in its place.
PRIVATE = "[private]"

#: Keys of an event whose values are what somebody said, or a secret. No line of ours has them; an agent's may.
PRIVATE_KEYS = frozenset(
    {
        *("text", "prompt", "system", "message", "messages", "content", "delta", "answer", "reply", "completion"),
        *("input", "output", "summary", "tool_calls", "metadata", "args", "kwargs"),
        *("api_key", "authorization", "headers", "password", "secret", "stream_key", "token"),
    }
)

#: `user:password@` after a scheme, keys as providers write them, and what an HTTP header of that kind holds.
CREDENTIALS = re.compile(
    r"(?P<before>\b[a-z][a-z0-9+.-]*://[^\s/?#:@]*:)[^\s/?#@]+(?=@)"
    r"|\bsk-[\w-]{8,}"
    r"|(?P<scheme>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}",
    re.IGNORECASE,
)

#: What Postgres says of a row: its values, which may be a user's words, over as many lines as they have.
ROW = re.compile(r"^(DETAIL|CONTEXT|QUERY):.*?(?=^[A-Z]\w+:|^\s*$(?!\n)|\Z)", re.MULTILINE | re.DOTALL)

#: Secrets that are shorter would be found in innocent words.
SHORTEST = 4


class Redactor:
    """Takes out credentials by their form, and `secrets` wherever they stand. Also a processor of structlog's."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        longest_first = sorted({one for one in secrets if len(one) >= SHORTEST}, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def clean(self, text: str) -> str:
        """The text without what is private in it."""
        if "://" in text or "sk-" in text or "earer" in text or "asic" in text:
            text = CREDENTIALS.sub(_without_credential, text)
        if "DETAIL:" in text or "CONTEXT:" in text:
            text = ROW.sub(rf"\1: {PRIVATE}\n", text)
        return self._secrets.sub(PRIVATE, text) if self._secrets else text

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        for key, value in event.items():
            if key in PRIVATE_KEYS:
                event[key] = PRIVATE
            elif type(value) is str:
                event[key] = self.clean(value)
            elif isinstance(value, dict | list | tuple):
                event[key] = self._value(value)
        return event

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, dict):
            return {key: PRIVATE if key in PRIVATE_KEYS else self._value(inner) for key, inner in value.items()}
        return [self._value(inner) for inner in value] if isinstance(value, list | tuple) else value


class RedactingFormatter(logging.Formatter):
    """Another formatter's lines without what is private."""

    def __init__(self, inner: logging.Formatter, redactor: Redactor) -> None:
        super().__init__()
        self._inner = inner
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.clean(self._inner.format(record))


def secrets_of(settings: Settings) -> list[str]:
    """The keys and passwords that the settings hold, as they are and as a URL writes them."""
    urls = [url.get_secret_value() for url in (settings.database_url, settings.broker_url) if url is not None]
    passwords = [password for url in urls if (password := urlsplit(url).password)]
    keys = [one.api_key.get_secret_value() for one in settings.providers]
    return [*passwords, *(unquote(one) for one in passwords), *(key for key in keys if key != "none")]


def _without_credential(found: re.Match[str]) -> str:
    return (found["before"] or found["scheme"] or "") + PRIVATE
