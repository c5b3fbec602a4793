"""What agent code may hand over: checked here, before anything is stored."""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pipeline.errors import InvalidRequest
from pipeline.schemas import Priority
from pipeline.settings import ATTEMPTS_MAX, SECONDS_MAX, Settings
from pipeline.store.ledger import NewRequest

#: What may become of a request whose session is busy.
ON_BUSY = ("queue", "reject", "interrupt")
#: Bytes of UTF-8.
TEXT_MAX = 1024 * 1024
METADATA_MAX = 64 * 1024
#: Characters.
ID_MAX = 255
#: Levels of nesting, far from where writers and readers of JSON give up.
METADATA_DEPTH = 20
#: The largest number that every reader of JSON has: that of a double.
NUMBER_MAX = sys.float_info.max
#: Bytes: a key for AES-256.
STREAM_KEY_SIZE = 32


@dataclass(frozen=True)
class Rules:
    """What a submission is measured by."""

    settings: Settings
    agents: Collection[str]
    origin: str

    def check(
        self,
        text: str,
        *,
        user_id: str,
        conversation_id: str,
        agent: str = "chat",
        priority: str = "normal",
        deadline: float | datetime | None = None,
        timeout: float | None = None,
        max_attempts: int | None = None,
        on_busy: str = "queue",
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> NewRequest:
        """The request to be stored. Raises InvalidRequest that names the field, the value and the remedy."""
        _check_text(text)
        check_id("user_id", user_id)
        check_id("conversation_id", conversation_id)
        if idempotency_key is not None:
            check_id("idempotency_key", idempotency_key)
        self._check_choices(agent, priority, on_busy)
        content = _metadata(metadata)
        return NewRequest(
            id=time_ordered_id(),
            user_id=user_id,
            conversation_id=conversation_id,
            agent=agent,
            priority=Priority[priority],
            text=text,
            metadata=content,
            idempotency_key=idempotency_key,
            content_hash=_hash(conversation_id, agent, text, content) if idempotency_key else None,
            origin=self.origin,
            stream_key=secrets.token_bytes(STREAM_KEY_SIZE),
            max_attempts=self._attempts(max_attempts),
            timeout=_seconds("timeout", timeout, self.settings.run_timeout),
            deadline=_deadline(deadline, self.settings.deadline),
            on_busy=on_busy,
        )

    def _check_choices(self, agent: object, priority: object, on_busy: object) -> None:
        if not isinstance(agent, str) or agent not in self.agents:
            known = ", ".join(sorted(self.agents))
            raise InvalidRequest("agent", f"{_shown(agent)} is not known here, only {known}; set CITE_AGENT_AGENTS")
        if not isinstance(priority, str) or priority not in Priority.__members__:
            raise InvalidRequest("priority", f"{_shown(priority)} is not one of {', '.join(Priority.__members__)}")
        if not isinstance(on_busy, str) or on_busy not in ON_BUSY:
            raise InvalidRequest("on_busy", f"{_shown(on_busy)} is not one of {', '.join(ON_BUSY)}")

    def _attempts(self, given: int | None) -> int:
        if given is None:
            return self.settings.max_retry_attempts
        if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= ATTEMPTS_MAX:
            raise InvalidRequest("max_attempts", f"{_shown(given)} is not a whole number from 1 to {ATTEMPTS_MAX}")
        return given


def time_ordered_id() -> UUID:
    """A UUID of version 7 (RFC 9562): milliseconds, then random bits, so that new rows are neighbours in the index."""
    stamp = time.time_ns() // 1_000_000
    value = (stamp << 80) | (0x7 << 76) | (secrets.randbits(12) << 64) | (0b10 << 62) | secrets.randbits(62)
    return UUID(int=value)


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise InvalidRequest("text", f"must be a str, not {type(text).__name__}")
    if not text.strip():
        raise InvalidRequest("text", "is empty; say something")
    size = _size("text", text)
    if size > TEXT_MAX:
        raise InvalidRequest("text", f"is {size} bytes long, more than {TEXT_MAX}; send it in parts")


def check_id(field: str, value: object) -> None:
    """Raises InvalidRequest where this cannot be an id."""
    if not isinstance(value, str):
        raise InvalidRequest(field, f"must be a str, not {type(value).__name__}")
    if not 1 <= len(value) <= ID_MAX:
        raise InvalidRequest(field, f"is {len(value)} characters long; 1 to {ID_MAX} are allowed")
    _size(field, value)


def _size(field: str, value: str) -> int:
    if "\0" in value:
        raise InvalidRequest(field, f"holds a NUL character at {value.index(chr(0))}; take it out")
    try:
        return len(value.encode())
    except UnicodeEncodeError as wrong:
        raise InvalidRequest(field, f"holds a lone surrogate at {wrong.start}; take it out") from None


def _metadata(given: object) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidRequest("metadata", f"must be a dict, not {type(given).__name__}")
    content = dict(given)
    _check_json(content, METADATA_DEPTH)
    size = len(json.dumps(content, ensure_ascii=False).encode())
    if size > METADATA_MAX:
        raise InvalidRequest("metadata", f"is {size} bytes long, more than {METADATA_MAX}")
    return content


def _check_json(value: object, depth: int) -> None:
    """Whether Postgres and everybody else who reads JSON can keep it as it is."""
    if depth < 0:
        raise InvalidRequest("metadata", f"is nested deeper than {METADATA_DEPTH} levels")
    if isinstance(value, str):
        _size("metadata", value)
    elif isinstance(value, int | float):
        if not -NUMBER_MAX <= value <= NUMBER_MAX:  # NaN is not, either
            raise InvalidRequest("metadata", f"holds a number that JSON's readers cannot keep: {_shown(value)}")
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_json(inner, depth - 1)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_key(key)
            _check_json(inner, depth - 1)
    elif value is not None:
        raise InvalidRequest("metadata", f"holds a {type(value).__name__}, which JSON cannot say")


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise InvalidRequest("metadata", f"has a key that is not a str: {_shown(key)}")
    _size("metadata", key)


def _seconds(field: str, given: object, default: float) -> float:
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= SECONDS_MAX:
        raise InvalidRequest(field, f"{_shown(given)} is not a number of seconds above 0, and at most {SECONDS_MAX}")
    return float(given)


def _deadline(given: object, default: float) -> float:
    if not isinstance(given, datetime):
        if isinstance(given, int | float) and given <= 0:
            raise InvalidRequest("deadline", f"{_shown(given)} is in the past; give seconds from now")
        return _seconds("deadline", given, default)
    if given.tzinfo is None:
        raise InvalidRequest("deadline", f"{given!r} has no time zone; give an aware datetime, or seconds from now")
    left = (given - datetime.now(UTC)).total_seconds()
    if left <= 0:
        raise InvalidRequest("deadline", f"{given.isoformat()} is in the past")
    return _seconds("deadline", left, default)


def _shown(value: object) -> str:
    """The beginning of it. Python writes no number of more than 4300 digits, and other values may refuse, too."""
    try:
        return f"{value!r:.40}"
    except Exception as refusal:  # noqa: BLE001 - of whatever class agent code has handed over
        return f"<{type(value).__name__}: {type(refusal).__name__}>"


def _hash(conversation_id: str, agent: str, text: str, metadata: dict[str, Any]) -> bytes:
    content = json.dumps([conversation_id, agent, text, metadata], sort_keys=True)
    return hashlib.sha256(content.encode()).digest()
