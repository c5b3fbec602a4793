"""Names of objects: one a session and moment, whatever its ids hold, and none that leaves the folder."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

#: What follows the time, by the setting `ARCHIVE_COMPRESSION`.
SUFFIXES = {"zstd": ".json.zst", "none": ".json"}

#: Bytes of an id that stand as they are. The underscore parts the ids, and case is not told apart by every disk.
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-.")

#: Most characters of an encoded id: with both, time and suffix, a name stays under the 255 bytes that disks allow, and
#: leaves some for those of temporary files.
LONGEST = 96

#: Stands between the beginning of an id that is too long and its digest; encoded, no id holds it.
CUT = "~"


def object_name(user_id: str, conversation_id: str, archived_at: datetime, compression: str) -> str:
    """The name of the archive that was begun at that moment."""
    moment = archived_at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return f"{encode(user_id)}_{encode(conversation_id)}_{moment}{SUFFIXES[compression]}"


def is_compressed(name: str) -> bool:
    """Whether the object of that name is compressed."""
    return name.endswith(SUFFIXES["zstd"])


def encode(id_: str) -> str:
    """An id as part of a name: percent-encoded, and cut when it is too long, with its digest to tell it apart."""
    whole = id_.encode("utf-8", "surrogatepass")
    parts = [chr(byte) if byte in PLAIN else f"%{byte:02X}" for byte in whole]
    if parts and parts[0] == ".":
        parts[0] = "%2E"  # a dot in front hides a file from those who look for it
    if len(encoded := "".join(parts)) <= LONGEST:
        return encoded
    room = LONGEST - len(CUT) - hashlib.sha256().digest_size * 2
    kept = ""
    for part in parts:
        if len(kept) + len(part) > room:
            break
        kept += part
    return f"{kept}{CUT}{hashlib.sha256(whole).hexdigest()}"
