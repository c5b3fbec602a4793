"""Cold storage: a folder, or a bucket of S3, Google or Azure, behind four verbs."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from pipeline.errors import ConfigurationError, ObjectNotFound, StorageFailed

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

#: For buckets: a request, and connecting for it; then a few tries more, within seconds. The sweep has all the time.
CLIENT: ClientConfig = {"timeout": "30s", "connect_timeout": "3s"}
RETRY: RetryConfig = {"max_retries": 2, "retry_timeout": timedelta(seconds=30)}

#: Variables that name another S3 endpoint than Amazon's.
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


#: How the name of a file ends that is being written, or was when its writer was killed; the store hides these.
STAGED = re.compile(r"#\d+$")


class Storage(Protocol):
    """Where objects are kept. Safe to use from any thread.

    Every verb raises StorageFailed where the storage is full, slow, denied or down.
    """

    def put(self, name: str, data: bytes) -> None:
        """Write an object, over one of that name if there is one: whole, or not at all."""

    def get(self, name: str) -> bytes:
        """Read an object. Raises ObjectNotFound."""

    def delete(self, name: str) -> None:
        """Remove an object; there need not be one."""

    def names(self) -> Iterator[str]:
        """The names of all objects, in no order."""


def open_storage(url: str) -> Storage:
    """The storage at a folder's path or a bucket's URL. Raises ConfigurationError for one that is neither.

    A folder is made when it is first written to.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return Folder(Path(url).expanduser())
    if scheme == "file":
        return Folder(Path(rest))
    try:
        return Bucket(_bucket(url))
    except (BaseError, ValueError) as wrong:
        # not chained, nor quoted: it may hold what was in the URL
        raise ConfigurationError(f"CITE_AGENT_COLD_STORAGE_URL: no storage can be opened: {_kind(wrong)}") from None


class Bucket:
    """Objects in a store of `obstore`, which encodes names as the service wants them: they are given as they are."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put(self, name: str, data: bytes) -> None:
        with _translated("put", name):
            obstore.put(self._store, name, data, use_multipart=False)

    def get(self, name: str) -> bytes:
        with _translated("get", name):
            return obstore.get(self._store, name).bytes().to_bytes()

    def delete(self, name: str) -> None:
        try:
            with _translated("delete", name):
                obstore.delete(self._store, name)
        except ObjectNotFound:
            return

    def names(self) -> Iterator[str]:
        with _translated("list", ""):
            for page in obstore.list(self._store):
                yield from (found["path"] for found in page)


class Folder:
    """Objects as files of a folder. What was put is on the disk itself before its messages leave Postgres."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._opened: Bucket | None = None

    def put(self, name: str, data: bytes) -> None:
        with _translated("put", name):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._files.put(name, data)
            _sync(self.folder / name)
            _sync(self.folder)

    def get(self, name: str) -> bytes:
        if not self.folder.exists():
            raise ObjectNotFound(name)
        return self._files.get(name)

    def delete(self, name: str) -> None:
        """Also what is left of writing it, where whoever wrote it was killed."""
        if not self.folder.exists():
            return
        if not STAGED.search(name):
            self._files.delete(name)
        with _translated("delete", name):
            (self.folder / name).unlink(missing_ok=True)
            staged = (self.folder / f"{name}#{nth}" for nth in itertools.count(1))
            for one in itertools.takewhile(Path.exists, staged):
                one.unlink(missing_ok=True)

    def names(self) -> Iterator[str]:
        """Those of what was left half written, too."""
        if self.folder.exists():
            yield from self._files.names()
            yield from self._staged()

    def _staged(self) -> list[str]:
        with _translated("list", ""), os.scandir(self.folder) as found:
            return [one.name for one in found if STAGED.search(one.name)]

    @property
    def _files(self) -> Bucket:
        if self._opened is None:
            with _translated("open", ""):
                self._opened = Bucket(LocalStore(self.folder))
        return self._opened


def _bucket(url: str) -> ObjectStore:
    client = dict(CLIENT)
    endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")
    given: dict[str, Any] = {}
    if url.startswith("s3") and endpoint:
        given = {"endpoint": endpoint}
        client["allow_http"] = endpoint.startswith("http://")
    # its overloads are for the options of one service each
    return from_url(url, client_options=client, retry_config=RETRY, **given)  # type: ignore[call-overload,no-any-return]


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def _translated(operation: str, name: str) -> Iterator[None]:
    """What the store raises quotes paths, keys and answers of the service, so only its kind is passed on."""
    try:
        yield
    except (BaseError, OSError) as fault:
        if isinstance(fault, FileNotFoundError) and operation in ("get", "delete"):
            raise ObjectNotFound(name) from None
        raise StorageFailed(operation, _kind(fault)) from None


def _kind(fault: Exception) -> str:
    return type(fault).__name__
