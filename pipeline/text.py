"""Text that Postgres can keep."""

from __future__ import annotations

import math
from typing import Any

#: Levels of lists and objects within each other that everybody who reads JSON can read.
JSON_DEPTH = 100

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


def clean_json(value: Any, depth: int = JSON_DEPTH) -> Any:
    """The JSON value with every text in it cleaned, keys too. Raises ValueError where JSON cannot say it."""
    if depth < 0:
        raise ValueError(f"is nested deeper than {JSON_DEPTH} levels")
    if isinstance(value, str):
        return clean(value)[0]
    if isinstance(value, dict):
        return {clean(str(key))[0]: clean_json(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(inner, depth - 1) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"holds the number {value!r}, which JSON cannot say")
    if value is not None and not isinstance(value, bool | int | float):
        raise ValueError(f"holds a {type(value).__name__}, which JSON cannot say")
    return value
