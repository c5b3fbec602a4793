"""A folder as a file system of its own: one that can be full, read-only, or slow, and nothing else with it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from stress.chaos.fault import CannotStrike

#: Linux: what freezes a file system, so that who writes waits, and what lets it go on (`ioctl_fsfreeze`).
FREEZE, THAW = 0xC0045877, 0xC0045878

BALLAST = "ballast"

#: Seconds within which nobody has a file open for writing: an object takes a moment.
PATIENCE = 10.0


class Volume:
    """One mounted on `folder`, kept in a sparse file of that many megabytes beside it."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._image = folder.with_name(f"{folder.name}.image")
        self._megabytes = megabytes

    def mount(self) -> None:
        """Make it. Raises OSError or CalledProcessError where this user, or this machine, cannot."""
        self.folder.mkdir(mode=0o700, parents=True)
        with self._image.open("wb") as image:
            image.truncate(self._megabytes * 2**20)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", self._image)
        _run("mount", "-o", "loop", self._image, self.folder)
        (self.folder / "lost+found").rmdir()  # servers want their folder empty

    def unmount(self) -> None:
        """Let it go, whatever was done to it."""
        with suppress(OSError):
            self.thaw()
        if os.path.ismount(self.folder):
            _run("umount", "--lazy", self.folder)

    def fill(self) -> None:
        """Leave no room."""
        free = shutil.disk_usage(self.folder).free
        with (self.folder / BALLAST).open("wb") as file:
            while free >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, free)
                except OSError:
                    free //= 2

    def empty(self) -> None:
        """Give the room back."""
        (self.folder / BALLAST).unlink(missing_ok=True)

    def protect(self) -> None:
        """Refuse to be written, as soon as nobody has a file open for writing. Raises CannotStrike."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with suppress(subprocess.CalledProcessError):  # the mount point is busy
                _run("mount", "-o", "remount,ro", self.folder)
                return
            time.sleep(0.05)
        raise CannotStrike(f"the volume was written to for {PATIENCE:g} s")

    def unprotect(self) -> None:
        _run("mount", "-o", "remount,rw", self.folder)

    def freeze(self) -> None:
        """Have everyone wait who writes."""
        self._tell(FREEZE)

    def thaw(self) -> None:
        self._tell(THAW)

    def _tell(self, what: int) -> None:
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, what, 0)
        finally:
            os.close(folder)


@contextmanager
def volumes(folder: Path, sizes: dict[str, int]) -> Iterator[tuple[dict[str, Volume], str]]:
    """Such folders within `folder`, by name, with their sizes in megabytes; or none, and why."""
    with ExitStack() as mounted:
        made: dict[str, Volume] = {}
        why = "" if sys.platform == "linux" and os.geteuid() == 0 else "needs root on Linux, to mount a file system"
        try:
            for name, size in {} if why else sizes.items():
                volume = Volume(folder / name, size)
                mounted.callback(volume.unmount)
                volume.mount()
                made[name] = volume
        except (OSError, subprocess.CalledProcessError) as fault:
            mounted.close()
            for name in sizes:
                shutil.rmtree(folder / name, ignore_errors=True)
            made, why = {}, f"no file system can be mounted here: {type(fault).__name__}"
        yield made, why


def _run(*command: str | Path) -> None:
    given: Sequence[str] = [str(part) for part in command]
    subprocess.run(given, check=True, capture_output=True)
