"""A folder that can be full, read-only and slow, where this user may mount one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stress.chaos.volume import Volume, volumes


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    with volumes(tmp_path, {"small": 8}) as (mounted, why_none):
        if why_none:
            pytest.skip(why_none)
        yield mounted["small"]


def test_a_full_volume_takes_nothing_and_an_emptied_one_does(volume: Volume) -> None:
    file = volume.folder / "file"
    volume.fill()
    with pytest.raises(OSError, match="No space left"):
        file.write_bytes(bytes(10_000))
    volume.empty()
    assert file.write_bytes(bytes(10_000)) == 10_000


def test_a_protected_volume_can_be_read_and_not_written(volume: Volume) -> None:
    file = volume.folder / "file"
    file.write_text("kept")
    volume.protect()
    with pytest.raises(OSError, match="Read-only"):
        file.write_text("changed")
    assert file.read_text() == "kept"
    volume.unprotect()
    file.write_text("changed")


def test_who_writes_to_a_frozen_volume_waits(volume: Volume) -> None:
    volume.freeze()
    writer = threading.Thread(target=(volume.folder / "file").write_text, args=("late",), daemon=True)
    writer.start()
    writer.join(0.3)
    assert writer.is_alive()
    volume.thaw()
    writer.join(10)
    assert (volume.folder / "file").read_text() == "late"


def test_a_volume_goes_even_when_it_is_frozen(tmp_path: Path) -> None:
    with volumes(tmp_path, {"small": 8}) as (mounted, why_none):
        if why_none:
            pytest.skip(why_none)
        mounted["small"].freeze()
    assert not (tmp_path / "small").is_mount()
