"""Cold storage: whether archives could be written, read and deleted there."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

from pipeline.archive.storage import open_storage
from pipeline.doctor.finding import Finding, fine, wrong
from pipeline.doctor.site import Site
from pipeline.errors import PipelineError


def can_be_written(site: Site) -> Iterator[Finding]:
    """Puts a small object there, reads it and takes it away again."""
    url = site.settings.cold_storage
    name, data = f"doctor-{uuid4().hex}", b"written to see whether that works\n"
    try:
        storage = open_storage(url)
        storage.put(name, data)
        same = storage.get(name) == data
        storage.delete(name)
    except (PipelineError, OSError) as fault:
        yield wrong(
            f"{url} cannot be used: {fault}",
            "make it writable for the workers' user, or set CITE_AGENT_COLD_STORAGE_URL",
        )
        return
    yield fine(f"{url} can be written") if same else wrong(f"{url} returned other bytes", "use another storage")
