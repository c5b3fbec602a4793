"""Variables that look like settings and are none: a name that is misspelt would otherwise be ignored in silence."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path

from pipeline.settings import Settings

#: Names that are read although they are no settings.
OTHERS = frozenset({"STACK_FILE"})


def unknown_variables() -> dict[str, str | None]:
    """Each variable of the environment, or of `.env`, that has our prefix and is no setting, and the nearest that is
    one, where one is near. Names alone: a value may be a secret."""
    prefix = Settings.model_config.get("env_prefix", "")
    known = {name.upper() for name in Settings.model_fields}
    found = {}
    for name in sorted(_variables(prefix)):
        bare = name.upper().removeprefix(prefix)
        if bare not in known | OTHERS:
            nearest = get_close_matches(bare, sorted(known), n=1)
            found[name] = prefix + nearest[0] if nearest else None
    return found


def _variables(prefix: str) -> set[str]:
    named = {name for name in os.environ if name.upper().startswith(prefix)}
    file = Path(str(Settings.model_config.get("env_file")))
    if file.is_file():
        line = re.compile(rf"^\s*(?:export\s+)?({prefix}\w*)\s*=", re.IGNORECASE | re.MULTILINE)
        named |= set(line.findall(file.read_text(errors="replace")))
    return named
