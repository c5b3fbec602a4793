"""Text that Postgres can keep."""

from __future__ import annotations

from typing import Any

#: Stands for what cannot be kept.
REPLACEMENT = "\ufffd"


def clean(text: str) -> tuple[str, bool]:
    """The text with NUL and lone surrogates replaced, and whether there was any to replace.

    A surrogate pair in two halves becomes the character that it stands for.
    """
    kept = text.replace("\0", REPLACEMENT)
    try:
        kept.encode()
    except UnicodeEncodeError:
        kept = kept.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return kept, kept != text


def clean_json(value: Any) -> Any:
    """The JSON value with every text in it cleaned, keys too."""
    if isinstance(value, str):
        return clean(value)[0]
    if isinstance(value, dict):
        return {clean(str(key))[0]: clean_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(inner) for inner in value]
    return value
