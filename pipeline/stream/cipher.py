"""What makes a request's stream unreadable in the broker: AES-256-GCM with a key that only the ledger holds."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

#: Bytes of a key, and of the random number that stands before each ciphertext.
KEY_BYTES, NONCE_BYTES = 32, 12


def new_key() -> bytes:
    """A key for one request."""
    return os.urandom(KEY_BYTES)


class Cipher:
    """Seals the pieces of one request. A sealed piece opens only as what it was: same request, fence and offset."""

    def __init__(self, request_id: str, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a stream's key has {KEY_BYTES} bytes, not {len(key)}")
        self._request_id = request_id
        self._aead = AESGCM(key)

    def seal(self, fence: int, offset: int, text: str) -> bytes:
        """Nonce and ciphertext of a piece."""
        nonce = os.urandom(NONCE_BYTES)
        # a model's output may hold half of a surrogate pair, cut between two tokens
        return nonce + self._aead.encrypt(nonce, text.encode("utf-8", "surrogatepass"), self._bound(fence, offset))

    def open(self, fence: int, offset: int, sealed: bytes) -> str | None:
        """The text of a sealed piece; None for what was not sealed so, with this key."""
        try:
            plain = self._aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self._bound(fence, offset))
        except (InvalidTag, ValueError):  # the latter: too short to hold a nonce
            return None
        return plain.decode("utf-8", "surrogatepass")

    def _bound(self, fence: int, offset: int) -> bytes:
        return f"{self._request_id}|{fence}|{offset}".encode()
