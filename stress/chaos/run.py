"""One chaos run: a stack, the load on it, the faults, and the report."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from random import Random

from pipeline import Client
from pipeline.cli.demo.alone import alone
from pipeline.local import folders
from pipeline.local.stack import LocalStack, Parts
from pipeline.store.database import Database
from stress import integrity
from stress.chaos.drive import Drive
from stress.chaos.faults.storage import SIZES
from stress.chaos.ledger import Ledger
from stress.chaos.options import Chaos
from stress.chaos.rows import Row, fate, figures, figures_by_fault, grids, judge
from stress.chaos.scene import Scene
from stress.chaos.volume import Volume, volumes
from stress.conclude import conclude
from stress.interrupting import stopping_on_signals
from stress.load.senders import Senders
from stress.plan import Open
from stress.report.figures import FaultSpan, Report
from stress.run import Run
from stress.screen import Screen, screen_for
from stress.target import Target, of_stack

#: What the first Ctrl-C is answered with.
GIVING_UP = "No further fault; waiting for what is under way, then the report; a second Ctrl-C does not wait"


def run(asked: Chaos) -> Report:
    """Do as asked, or until the first Ctrl-C. Raises PipelineError where the stack does not start."""
    with (
        screen_for(asked.plan, quiet=asked.quiet) as screen,
        _stack(asked, screen) as (target, mounted, why_none),
    ):
        database = Database(target.settings.database, size=3)
        try:
            with stopping_on_signals(screen.say, GIVING_UP) as stopping:
                made = Run(asked.plan, target, database, stopping=stopping)
                scene = Scene(target, Ledger(database, made.name), Random(asked.seed), asked.seed, mounted, why_none)
                drive = Drive(scene, asked.faults, asked.seconds, screen.say)
                _go(made, drive, screen)
            screen.say("Reading the ledger, checking the invariants")
            return _report(made, drive)
        finally:
            database.close()


@contextmanager
def _stack(asked: Chaos, screen: Screen) -> Iterator[tuple[Target, dict[str, Volume], str]]:
    """A stack whose folders, where that can be, are file systems of their own. Only the plan's settings reach it."""
    with alone() as folder:
        data = folders.claim(folder / "data")  # before it holds what is mounted there
        chosen = {f"CITE_AGENT_{name.upper()}": value for name, value in asked.plan.settings.items()}
        os.environ.update(chosen | {"CITE_AGENT_COLD_STORAGE_URL": str(data / "archives")})
        parts = Parts(workers=asked.plan.workers, flower=False)
        with (
            volumes(data, SIZES) as (mounted, why_none),
            LocalStack(data, parts, announced=False, report=screen.say) as stack,
        ):
            try:
                yield of_stack(stack, asked.plan), mounted, why_none
            finally:
                if asked.logs:
                    shutil.copytree(data / "logs", asked.logs, dirs_exist_ok=True)


def _go(made: Run, drive: Drive, screen: Screen) -> None:
    """The load, until the faults are through or the run is stopped. Raises SenderLost, or what the drive raised."""
    raised: list[BaseException] = []

    def strike(sending: Senders) -> None:
        try:
            drive.run()
        except BaseException as fault:  # noqa: BLE001 - raised again below, where somebody hears it
            raised.append(fault)
        finally:
            sending.stop()

    def tick(run: Run) -> None:
        screen.show(run)
        if run.stopping.is_set():
            drive.give_up()

    with made.watched() as sending:
        # who does not wait for its end is not to be kept by it: the stack, with all that was hurt in it, goes
        striking = threading.Thread(target=strike, args=(sending,), name="chaos", daemon=True)
        striking.start()
        try:
            made.send(sending, tick)
        finally:
            drive.give_up()
            striking.join()
    if raised:
        raise raised[0]


def _report(made: Run, drive: Drive) -> Report:
    rows = list(drive.rows.values())
    statuses = drive.scene.ledger.statuses()
    with Client(made.target.settings) as client:
        wrong = integrity.wrong(
            made.database,
            made.name,
            made.recorder.heard,
            lambda *who: client.history(*who, include_archived=True),
            unsure=made.recorder.unsure,
        )
    load = made.plan.load
    assert isinstance(load, Open)
    interrupting = load.on_busy == "interrupt"
    fates = [fate(row, statuses, wrong, interrupting=interrupting) for row in rows if row.strikes]
    made.faults = sorted(_spans(made, rows), key=lambda span: span.start)
    made.grids = grids(fates, rows)
    broke = sum(row.broke for row in rows)
    made.more = {**figures(fates, broke=broke), **figures_by_fault(fates, rows)}
    stage = replace(load.stages[0], seconds=round(made.recorder.last_end - made.start, 1))
    made.plan = replace(made.plan, load=replace(load, stages=(stage,)))
    report = conclude(made)
    return replace(report, verdicts=[*judge(fates, broke=broke), *report.verdicts])


def _spans(made: Run, rows: list[Row]) -> Iterator[FaultSpan]:
    """From the strike to the recovery, or to the strike's end where no recovery was seen."""
    for row in rows:
        for strike, recovery in itertools.zip_longest(row.strikes, row.recoveries):
            yield FaultSpan(row.fault.name, strike.began - made.start, strike.ended + (recovery or 0) - made.start)
