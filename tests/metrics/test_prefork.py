"""Tasks in child processes: the parent serves what all of them counted, and dead children leave nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from celery import Celery

from pipeline.errors import ConfigurationError
from pipeline.folding import Family
from pipeline.local import process
from pipeline.local.process import Launch
from pipeline.store.database import Database
from pipeline.store.measures import estates
from tests.fleet import PATIENCE, READY
from tests.metrics.scraping import SERVED, fetch, total
from tests.servers import Broker, eventually

#: Tasks after which a child is replaced, and children at a time.
LIFE, CHILDREN = 3, 2

#: So many that several children are used up.
TICKS = 12

TASKS = "cite_agent_celery_tasks_total"

Run = Callable[..., tuple["subprocess.Popen[bytes]", Path]]


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """The workers of a test, which end with it."""
    workers: list[subprocess.Popen[bytes]] = []
    yield workers
    for worker in workers:
        process.end(process.family(worker.pid), grace=1)
        worker.wait(20)


@pytest.fixture
def run(
    tmp_path: Path,
    database: str,
    broker: Broker,
    started: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Start a worker of the application beside; returns it and its log."""
    monkeypatch.setenv("TEST_BROKER", f"redis+socket://{broker.socket}")
    monkeypatch.setenv("CITE_AGENT_DATABASE_URL", database)

    def start(*, folder: Path | None) -> tuple[subprocess.Popen[bytes], Path]:
        log = tmp_path / "worker.log"
        command = [sys.executable, "-m", "celery", "-A", "tests.metrics.prefork_app", "worker", "-P", "prefork"]
        command += ["-c", str(CHILDREN), f"--max-tasks-per-child={LIFE}", "--without-gossip", "--without-mingle"]
        environment = dict(os.environ) | ({} if folder is None else {"PROMETHEUS_MULTIPROC_DIR": str(folder)})
        started.append(process.spawn(Launch([*command, "-l", "INFO"], log, environment)))
        return started[-1], log

    return start


@dataclass
class Parent:
    """A worker, as who scrapes it and who sends it tasks see it."""

    url: str
    log: Path
    folder: Path
    app: Celery

    def tick(self, times: int) -> None:
        for _ in range(times):
            self.app.send_task("prefork.tick")

    def ticks(self) -> float:
        """How many it counts as done."""
        time.sleep(0.2)  # a look is work for the parent, which has children to start
        return total(fetch(self.url), TASKS, name="prefork.tick", state="success")

    def lose_a_child(self) -> None:
        self.app.send_task("prefork.die")
        eventually(lambda: "SIGKILL" in self.log.read_text(), PATIENCE, what="a child is killed")

    def owners(self) -> set[str]:
        """Whose files there are."""
        self.ticks()  # whoever died since the last look is folded now
        return {re.sub(r"^.*_|\.db$", "", file.name) for file in self.folder.glob("*.db")}


@pytest.fixture
def parent(run: Run, tmp_path: Path, broker: Broker) -> Iterator[Parent]:
    folder = tmp_path / "counts"
    folder.mkdir()
    _, log = run(folder=folder)
    served = eventually(lambda: SERVED.search(log.read_text()), READY, what="the parent serves")
    assert served
    with Celery("sender", broker=f"redis+socket://{broker.socket}", set_as_current=False) as app:
        yield Parent(served.group(1), log, folder, app)


def test_children_are_counted_and_fold_away_when_they_die(parent: Parent) -> None:
    parent.tick(TICKS)
    eventually(lambda: parent.ticks() == TICKS, PATIENCE, what="all are counted")
    parent.lose_a_child()
    parent.tick(TICKS)
    eventually(lambda: parent.ticks() == 2 * TICKS, PATIENCE, what="none is counted twice, none forgotten")
    assert total(fetch(parent.url), TASKS, state="received") == 2 * TICKS + 1
    few = CHILDREN + 2  # the parent's, the living children's, and one for all the dead
    eventually(lambda: len(parent.owners()) <= few, PATIENCE, what="the dead leave one file for all of them")
    assert 10e6 < total(fetch(parent.url), "cite_agent_memory_usage_bytes") < 1e9


def test_what_nobody_has_scraped_of_them_is_left_for_the_exporter(
    parent: Parent, started: list[subprocess.Popen[bytes]], database: str
) -> None:
    def done(*, seen: bool) -> float:
        return total(fetch(parent.url, seen=seen), TASKS, state="success")

    parent.tick(2)
    eventually(lambda: done(seen=True) == 2, PATIENCE, what="two are counted, and scraped")
    parent.tick(1)
    eventually(lambda: done(seen=False) == 3, PATIENCE, what="one more, unseen")
    (worker,) = started
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    store = Database(database, size=1)
    left = {dict(labels)["state"]: value for (name, labels), value in estates.adopt(store).items() if name == TASKS}
    store.close()
    assert left == {"received": 1, "success": 1}


def test_children_without_a_folder_are_refused(run: Run) -> None:
    worker, log = run(folder=None)
    assert worker.wait(READY) != 0
    assert "tasks in processes need PROMETHEUS_MULTIPROC_DIR" in log.read_text()


def test_two_workers_do_not_share_a_folder(tmp_path: Path) -> None:
    first = Family(tmp_path)
    with pytest.raises(ConfigurationError, match="give each worker a folder of its own"):
        Family(tmp_path)
    assert list(first.collect()) == []
    first.close()


def test_a_file_that_a_child_is_about_to_begin_or_never_began_keeps_nobody_from_looking(tmp_path: Path) -> None:
    family = Family(tmp_path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    beginning, never_begun = tmp_path / f"counter_{os.getpid()}.db", tmp_path / f"counter_{gone.pid}.db"
    for file in (beginning, never_begun):
        file.touch()
    assert list(family.collect()) == []
    assert (beginning.exists(), never_begun.exists()) == (True, False)
    family.close()
