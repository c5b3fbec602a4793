"""Erasing: a conversation, or all of a user's, from Postgres, cold storage and the broker, with a receipt."""

from pipeline.erasure.eraser import Eraser

__all__ = ["Eraser"]
