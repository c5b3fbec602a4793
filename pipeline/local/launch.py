"""Become a program that ends when its parent does, as another user if asked.

Run by path, with nothing but the standard library: `launch.py PARENT SIGNAL UID GID FOLDER COMMAND…`, where a UID of -1
keeps the user. It enters the folder while it may still, so the program works in one that its user could not reach.
"""

from __future__ import annotations

import ctypes
import os
import sys

#: From <sys/prctl.h>.
PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Replace this process. Raises OSError where the user, the folder or the program cannot be had."""
    parent, death_signal, uid, gid = (int(number) for number in arguments[:4])
    folder, *command = arguments[4:]
    os.umask(0o077)
    os.chdir(folder)
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # after the change of user, which would clear it; an exec keeps it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:
        sys.exit("the parent ended before its child began")
    os.execv(command[0], command)  # noqa: S606 - a list, and no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
