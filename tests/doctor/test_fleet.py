"""What is wrong with the fleet, its time-outs and its doors is found, by making it so."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pipeline import beat, stackfile
from pipeline.broker import connect
from pipeline.doctor import Finding, timeouts
from pipeline.doctor.site import Site
from pipeline.fingerprint import fingerprint
from pipeline.local.roster import free_port
from pipeline.settings import ProviderSettings, Settings
from pipeline.stackfile import Stack
from pipeline.store.database import Database
from pipeline.store.ledger import workers
from tests.doctor.conftest import Look, is_fine, warned, wrong
from tests.servers import eventually

Start = Callable[..., "subprocess.Popen[bytes]"]


def register(store: Database, name: str, settings: Settings) -> None:
    workers.register(store, uuid4(), name=name, pid=1, lease=60, settings=fingerprint(settings))


def test_a_fleet_without_workers_is_wrong(look: Look, store: Database, settings: Settings) -> None:
    assert wrong(look("workers")) == ["none is alive: what is accepted waits"]
    register(store, "one", settings)
    assert is_fine(look("workers"))


def test_workers_that_differ_in_what_they_should_share_are_wrong(
    look: Look, store: Database, settings: Settings
) -> None:
    register(store, "one", settings)
    register(store, "two", settings.model_copy(update={"worker_slots": 7}))
    assert is_fine(look("workers' settings"))
    register(store, "three", settings.model_copy(update={"run_timeout": 17.0}))
    assert wrong(look("workers' settings")) == ["CITE_AGENT_RUN_TIMEOUT differs between one, two and three"]


def test_workers_of_two_versions_may_differ_in_what_one_of_them_does_not_know(
    look: Look, store: Database, settings: Settings
) -> None:
    known = fingerprint(settings)
    register(store, "old", settings)
    workers.register(store, uuid4(), name="new", pid=1, lease=60, settings={**known, "a_new_setting": "1"})
    assert is_fine(look("workers' settings"))


def test_a_command_with_other_settings_than_the_workers_is_a_warning(
    look: Look, store: Database, settings: Settings
) -> None:
    register(store, "one", settings)
    assert warned(look("workers' settings", lease=13.0)) == ["CITE_AGENT_LEASE is another here than for the workers"]


def test_a_fingerprint_tells_settings_apart_and_says_nothing_of_keys_and_passwords() -> None:
    def of(password: str, key: str, model: str) -> dict[str, str]:
        provider = ProviderSettings(name="a", base_url="http://a", model=model, api_key=key)
        url = f"postgresql://me:{password}@db/x"
        return fingerprint(Settings(database_url=url, broker_url="redis://b", providers=[provider]))

    assert of("one", "two", "m") == of("three", "four", "m")
    differing = {name for name, digest in of("one", "two", "m").items() if of("one", "two", "n")[name] != digest}
    assert differing == {"providers"}


def test_no_beat_is_wrong_one_is_fine_and_two_are_wrong(look: Look, celery: Start, tmp_path: Path) -> None:
    assert wrong(look("beat"))[0].startswith("none has sent anything lately")
    first, second = (
        celery("beat", "-s", str(tmp_path / f"beat-{n}"), "--pidfile=", CITE_AGENT_RECOVERY_INTERVAL="1")
        for n in range(2)
    )

    def found() -> list[Finding]:
        return look("beat", recovery_interval=1.0)

    eventually(lambda: any(what.startswith("2 run") for what in wrong(found())), 60, what="both beats are seen")
    second.kill()
    eventually(lambda: is_fine(found()), 60, what="one is left")
    assert str(first.pid) in found()[0].what


def test_what_nobody_serves_is_seen_and_beat_lets_no_more_of_it_wait(
    look: Look, celery: Start, settings: Settings, tmp_path: Path
) -> None:
    assert is_fine(look("upkeep"))
    with closing(connect(settings.broker, 1.0)) as client:
        celery("beat", "-s", str(tmp_path / "beat"), "--pidfile=", CITE_AGENT_RECOVERY_INTERVAL="0.1")
        enough = beat.ENOUGH["maintenance"]
        eventually(lambda: client.llen("maintenance") == enough, 60, what="beat has sent enough")
        since = time.time() + 1
        eventually(lambda: min(beat.last_seen(client).values()) > since, 60, what="it is still at it")
        assert client.llen("maintenance") == enough
        assert wrong(look("upkeep")) == [f"{enough} messages wait in `maintenance`: nobody serves it, or not enough"]
        client.delete("maintenance")
        eventually(lambda: client.llen("maintenance") > 0, 60, what="it sends again")
        client.lpush("archive", *(f"{n}" for n in range(enough)))
        client.delete("maintenance")
        assert warned(look("upkeep"))[0].startswith(f"{enough} messages wait in `archive`")


@pytest.mark.parametrize("pair", timeouts.PAIRS, ids=lambda pair: " ".join(pair[:2]))
def test_a_limit_without_room_for_what_is_within_it_is_seen(pair: tuple[Any, ...]) -> None:
    inner, outer, is_wrong, so = pair
    assert is_fine(list(timeouts.fit_together(Site(Settings()))))
    raised = getattr(Settings(), outer) + 1
    found = timeouts.fit_together(Site(Settings().model_copy(update={inner: raised})))
    (said,) = (one for one in found if one.what.endswith(f": {so}"))
    assert said.what.startswith(f"CITE_AGENT_{inner.upper()} ({raised:g} s) is more than CITE_AGENT_{outer.upper()}")
    assert said.level == ("wrong" if is_wrong else "warning")
    assert said.remedy


def test_a_flower_without_a_login_is_wrong_and_one_with_it_is_fine(look: Look, celery: Start) -> None:
    urls = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    for url, variables in zip(urls, ({}, {"FLOWER_BASIC_AUTH": "me:secret"}), strict=True):
        celery("flower", f"--port={url.rpartition(':')[2]}", "--address=127.0.0.1", **variables)
    for url in urls:
        eventually(lambda url=url: answers(url), 60, what="Flower answers")  # type: ignore[misc]
    assert "can be opened without a login" in wrong(look("flower", flower=urls[0]))[0]
    (guarded,) = look("flower", flower=urls[1])
    assert is_fine([guarded])
    assert "/metrics and /healthcheck are always open" in guarded.what


def answers(url: str) -> bool:
    request = urllib.request.Request(f"{url}/healthcheck")
    request.add_header("Authorization", "Basic " + base64.b64encode(b"me:secret").decode())
    try:
        with urllib.request.urlopen(request, timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def test_a_flower_that_is_away_or_no_url_is_seen(look: Look) -> None:
    assert warned(look("flower", flower=f"http://127.0.0.1:{free_port()}"))[0].endswith("does not answer (URLError)")
    assert wrong(look("flower", flower="flower:5555"))
    assert is_fine(look("flower"))


@pytest.fixture
def listening(tmp_path: Path, look: Look) -> Iterator[Callable[[str], None]]:
    """A local stack, as its state file says, that listens at an address."""
    started: list[subprocess.Popen[str]] = []

    def listen(address: str) -> None:
        code = f"import socket; s = socket.create_server(({address!r}, 0)); print('ready', flush=True); input()"
        command = [sys.executable, "-c", code]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        stackfile.write(Stack(process.pid, "postgresql://x", "redis://x"))

    yield listen
    for process in started:
        process.communicate("\n", 20)
    assert json.loads((tmp_path / "stack.json").read_text())["pid"] == started[-1].pid


def test_a_local_stack_that_listens_to_everybody_is_wrong(look: Look, listening: Callable[[str], None]) -> None:
    listening("127.0.0.1")
    assert is_fine(look("addresses"))
    listening("0.0.0.0")  # noqa: S104 - which is what is to be found
    assert "on 0.0.0.0:" in wrong(look("addresses"))[0]


def test_cold_storage_that_cannot_be_written_is_wrong(look: Look, tmp_path: Path) -> None:
    assert is_fine(look("cold storage", cold_storage_url=str(tmp_path / "archives")))
    (tmp_path / "file").touch()
    assert "cannot be used" in wrong(look("cold storage", cold_storage_url=str(tmp_path / "file")))[0]
