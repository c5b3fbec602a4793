"""The user that Postgres runs as: it refuses to be root's."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from pipeline.local.errors import LocalStackError

#: Unprivileged users of this machine to run as when we are root, best first.
CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """A user and its group, by number."""

    uid: int
    gid: int


def for_postgres(data: Path) -> Account | None:
    """Whom to become: the owner of existing data, else the first candidate; None where we are not root."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise LocalStackError(
        f"Postgres does not run as root, and none of the users {', '.join(CANDIDATES)} exists; run as an ordinary user"
    )
