"""Cold storage: one contract over a folder and a bucket, which give names and bytes back as they were given."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from pipeline.archive.names import object_name
from pipeline.archive.storage import Bucket, Folder, Storage, open_storage
from pipeline.archive.verify import Finding, Verifier
from pipeline.errors import ConfigurationError, ObjectNotFound, StorageFailed
from tests.archive.conftest import MakeArchiver
from tests.archive.library import Library
from tests.archive.test_names import AT

#: Names as ids of every kind give them.
NAMES = [object_name(*ids, AT, "zstd") for ids in (("a_b", "c/d"), ("../../etc/x", "🙂 %"), ("Ada", "x" * 255))]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of an S3 server on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A folder within a bucket of it, with the variables that S3's users know."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    urllib.request.urlopen(urllib.request.Request(f"{s3}/archives", method="PUT"), timeout=10).close()
    return open_storage("s3://archives/of/ours")


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return Folder(tmp_path / "not" / "there" / "yet")
    found: Storage = request.getfixturevalue("bucket")
    for name in list(found.names()):
        found.delete(name)
    return found


def test_what_is_put_is_got_under_its_name(storage: Storage) -> None:
    for name in NAMES:
        storage.put(name, name.encode())
    assert sorted(storage.names()) == sorted(NAMES)
    assert [storage.get(name).decode() for name in NAMES] == NAMES


def test_a_name_is_not_encoded_twice(bucket: Storage, s3: str, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "archives")
    for storage in (folder, bucket):
        storage.put("a%5Fb.json", b"")
    assert [file.name for file in folder.folder.iterdir()] == ["a%5Fb.json"]
    listed = urllib.request.urlopen(f"{s3}/archives?list-type=2", timeout=10).read().decode()
    assert "<Key>of/ours/a%5Fb.json</Key>" in listed


def test_an_object_is_written_over(storage: Storage) -> None:
    storage.put("x.json", b"first")
    storage.put("x.json", b"second")
    assert storage.get("x.json") == b"second"


def test_what_is_not_there_is_not_found_and_need_not_be_deleted(storage: Storage) -> None:
    with pytest.raises(ObjectNotFound, match=r"x\.json"):
        storage.get("x.json")
    assert list(storage.names()) == []
    storage.delete("x.json")
    storage.put("x.json", b"1")
    storage.delete("x.json")
    storage.delete("x.json")
    with pytest.raises(ObjectNotFound):
        storage.get("x.json")


def test_a_conversation_is_archived_to_a_bucket(bucket: Storage, make_archiver: MakeArchiver, library: Library) -> None:
    library.storage = bucket
    session = library.converse(4)
    assert make_archiver(storage=bucket).archive([session]).archives == 1
    library.assert_whole(session)


def test_archives_are_verified_wherever_they_are_whatever_their_ids(
    storage: Storage, make_archiver: MakeArchiver, library: Library
) -> None:
    ids = [("a_b", "c/d"), ("../../etc/x", "🙂 %"), ("Ada", "x" * 255)]
    sessions = [library.converse(4, user=user, conversation=conversation) for user, conversation in ids]
    assert make_archiver(storage=storage).archive(sessions).archives == 3
    orphan = object_name("Ada", "long/ago", AT, "none")
    storage.put(orphan, b"{}")
    found: list[Finding] = []
    verdict = Verifier(library.database, storage, found.append, fix=True).verify()
    assert (verdict.good, verdict.archives, verdict.strangers) == (True, 3, 0)
    assert [one.what for one in found] == [orphan]
    assert sorted(storage.names()) == sorted(one.name for session in sessions for one in library.live(session))


def test_a_server_that_is_down_fails_without_a_word_of_its_own(
    bucket: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    down = open_storage("s3://archives/of/ours")
    for operation in (lambda: down.put("x", b""), lambda: down.get("x"), lambda: list(down.names())):
        with pytest.raises(StorageFailed) as failed:
            operation()
        assert failed.value.__cause__ is None
        assert "127.0.0.1" not in str(failed.value)


def test_a_bucket_that_is_not_there_fails(bucket: Storage) -> None:
    with pytest.raises(StorageFailed, match="put"):
        open_storage("s3://nobodys").put("x", b"")


def test_a_url_that_opens_nothing_is_named_without_what_it_holds() -> None:
    with pytest.raises(ConfigurationError, match="COLD_STORAGE_URL") as refused:
        open_storage("gs2://secret")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["~/archives", "file:///tmp/x"])
def test_a_folder_is_opened_by_path_or_url(url: str) -> None:
    assert isinstance(open_storage(url), Folder)


def test_a_folder_is_its_owners_alone(tmp_path: Path) -> None:
    storage = Folder(tmp_path / "archives")
    storage.put("x", b"")
    assert storage.folder.stat().st_mode & 0o777 == 0o700


def test_a_bucket_is_opened_by_url(bucket: Storage) -> None:
    assert isinstance(bucket, Bucket)
