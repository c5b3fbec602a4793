"""The harness finds what it is there to find: each defect is planted, and the run that has it fails."""

from __future__ import annotations

from copy import copy as copy_of
from dataclasses import replace

import psycopg
import pytest
from pydantic import SecretStr

from stress.conclude import conclude
from stress.load.record import Record
from stress.load.recorder import Recorder
from stress.plan import Closed, Open, Plan, Stage
from stress.report.figures import FaultSpan, Report
from stress.report.text import text
from stress.run import Run, execute
from stress.target import Target
from stress.thresholds import thresholds
from stress.trend import Slope
from tests.cli.test_invariants import TABLES
from tests.fleet import Fleet
from tests.stress.planted_agents import LEAKED, STALL

#: Two conversations' answered requests, the second and third of the first one.
OF_ONE = "(SELECT id FROM sessions WHERE conversation_id = 'talk 0' ORDER BY id LIMIT 1)"
SECOND = f"(SELECT id FROM requests WHERE session_id = {OF_ONE} AND position = 2)"

#: All that there is of a conversation whose request runs.
DROP = """
    WITH gone AS (SELECT id, session_id FROM requests WHERE user_id = %(user)s AND status = 'running'),
    attempted AS (DELETE FROM attempts WHERE request_id IN (SELECT id FROM gone)),
    said AS (DELETE FROM messages WHERE session_id IN (SELECT session_id FROM gone)),
    asked AS (DELETE FROM requests WHERE id IN (SELECT id FROM gone))
    DELETE FROM sessions WHERE id IN (SELECT session_id FROM gone)
"""

#: By the harness's figure that counts it, and the invariants of the ledger that break.
PLANTED = {
    "an answer is appended twice": (
        "WITH again AS (INSERT INTO messages (session_id, number, request_id, part, role, content)"
        f" SELECT m.session_id, s.last_number + 1, m.request_id, 3, m.role, m.content FROM messages AS m"
        f" JOIN sessions AS s ON s.id = m.session_id WHERE m.request_id = {SECOND} AND m.role = 'assistant')"
        f" UPDATE sessions SET last_number = last_number + 1 WHERE id = {OF_ONE}",
        "doubled",
        {"a_turn_stands_together"},
    ),
    "a message is dropped": (
        f"DELETE FROM messages WHERE request_id = {SECOND} AND role = 'assistant'",
        "lost",
        {"numbered_without_gap", "succeeded_is_answered"},
    ),
    "a request is dropped": (
        f"WITH gone AS (DELETE FROM messages WHERE request_id = {SECOND}), tried AS (DELETE FROM attempts WHERE"
        f" request_id = {SECOND}) DELETE FROM requests WHERE id = {SECOND}",
        "lost",
        {"numbered_without_gap"},
    ),
    "a session is reordered": (
        f"UPDATE messages SET number = CASE WHEN number > 4 THEN number - 2 ELSE number + 2 END"
        f" WHERE session_id = {OF_ONE} AND number BETWEEN 3 AND 6",
        "reordered",
        {"answers_in_order"},
    ),
    "a caller is told what is not so": (
        f"WITH gone AS (DELETE FROM messages WHERE request_id = {SECOND})"
        f" UPDATE requests SET status = 'failed', reason = 'http_4xx' WHERE id = {SECOND}",
        "contradicted",
        {"numbered_without_gap", "one_success"},
    ),
    "a request has no outcome": (
        f"UPDATE requests SET status = 'queued', finished_at = NULL, head = true WHERE id = {SECOND}",
        "unfinished",
        {"one_success", "answers_in_order", "text_in_one_place", "unanswered_is_silent"},
    ),
}


@pytest.fixture(scope="module")
def sound(target: Target) -> Run:
    """A run in which nothing went wrong."""
    return execute(Plan("sound", Closed(users=4, requests=4, delay=0.01), agent="sound", patience=60), target)


@pytest.fixture
def copy(fleet: Fleet, sound: Run, unguarded: str) -> Run:
    """That run, with a copy of its ledger that can be broken."""
    with psycopg.connect(fleet.settings.database) as whole, psycopg.connect(unguarded) as made:
        made.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")
        for table in TABLES:
            with (
                # as a query: a table's own COPY leaves out the columns that it computes, which the copy no longer does
                whole.cursor().copy(f"COPY (SELECT * FROM {table}) TO STDOUT") as rows,
                made.cursor().copy(f"COPY {table} FROM STDIN") as into,
            ):
                for block in rows:
                    into.write(block)
    settings = sound.target.settings.model_copy(update={"database_url": SecretStr(unguarded)})
    other = copy_of(sound)
    other.target = replace(sound.target, settings=settings)
    return other


def broken(report: Report) -> set[str]:
    """The thresholds that did not hold, by figure."""
    return {verdict.text.split()[0] for verdict in report.verdicts if not verdict.passed}


def test_a_sound_run_passes(sound: Run) -> None:
    report = conclude(sound)
    assert report.passed, report.verdicts
    assert report.requests.total == report.requests.succeeded == 16
    assert report.attempts == {1: 16}
    assert report.queue_wait is not None
    assert report.run_time is not None
    assert 0.02 <= report.run_time.p50 <= report.latency.p50 < 10  # type: ignore[union-attr]
    assert report.breaker_trips is None  # nobody counts here, and that is not 0


@pytest.mark.parametrize("defect", PLANTED)
def test_it_is_found_that(defect: str, copy: Run) -> None:
    statement, figure, rules = PLANTED[defect]
    assert conclude(copy).passed
    with psycopg.connect(copy.target.settings.database) as ledger:
        ledger.execute(statement)
    report = conclude(copy)
    assert not report.passed
    assert figure in broken(report), report.integrity
    assert rules <= {violation.partition(":")[0] for violation in report.invariants}, report.invariants


@pytest.mark.parametrize(("told", "found"), [("QueueFull", {"unheard"}), ("LedgerUnavailable", set())])
def test_a_request_that_its_caller_was_told_is_refused_is_found_unless_nobody_could_know(
    told: str, found: set[str], copy: Run
) -> None:
    copy.recorder = copy_of(copy.recorder)
    copy.recorder.heard = dict(list(copy.recorder.heard.items())[1:])
    copy.recorder.outcomes, copy.recorder.errors = copy_of(copy.recorder.outcomes), {}
    copy.recorder.hear([Record(copy.start, copy.start, None, copy.start, "refused", None, told)])
    assert broken(conclude(copy)) & {"unheard"} == found


def test_a_run_that_sent_nothing_did_not_pass(copy: Run) -> None:
    copy.name, copy.recorder = "nobody", Recorder(open_model=False)
    assert broken(conclude(copy)) == {"requests"}


def test_a_request_that_leaves_the_ledger_while_its_caller_waits_is_told_as_lost(target: Target) -> None:
    def drop(run: Run) -> None:
        with psycopg.connect(target.settings.database) as ledger:
            ledger.execute(DROP, {"user": f"{run.name}-0"})

    load = Closed(users=2, requests=1)
    report = conclude(execute(Plan("dropped", load, agent="slow", patience=60), target, drop))
    assert report.requests.outcomes == {"not found": 1, "succeeded": 1}
    assert [(each.what, each.count) for each in report.errors] == [("RequestNotFound", 1)]
    assert broken(report) == {"lost"}


def test_it_is_found_that_several_callers_were_given_one_request(copy: Run) -> None:
    copy.recorder = copy_of(copy.recorder)
    copy.recorder.repeated = {next(iter(copy.recorder.heard))}
    assert broken(conclude(copy)) == {"repeated"}


def test_messages_beyond_one_for_each_attempt_are_counted(copy: Run) -> None:
    copy.plan = replace(copy.plan, thresholds=thresholds("republished = 0"))
    assert conclude(copy).passed
    with psycopg.connect(copy.target.settings.database) as ledger:
        ledger.execute(f"UPDATE requests SET publications = 3 WHERE id = {SECOND}")
    report = conclude(copy)
    assert (report.republished, broken(report)) == (2, {"republished"})
    assert "republished      2 messages beyond one for each attempt" in text(report)


def test_users_who_interrupt_have_what_runs_cancelled_and_their_last_message_answered(target: Target) -> None:
    load = Closed(users=3, requests=3, delay=0.5, wait=False, on_busy="interrupt")
    required = thresholds("succeeded >= 3", "cancelled >= 3")
    report = conclude(execute(Plan("interrupting", load, thresholds=required, agent="listening", patience=60), target))
    assert report.passed, report.verdicts
    assert report.requests.total == 9


def test_neither_growth_of_memory_nor_trips_are_measured_where_a_worker_was_replaced_by_whomever(copy: Run) -> None:
    required = thresholds("memory_growth < 500 MB", "memory_acceleration < 2", "breaker_trips = 0")
    copy.plan = replace(copy.plan, thresholds=required)
    copy.batch_memory = [1e8, 1e8, 1e8]
    copy.trips = (0.0, 0.0)
    assert conclude(copy).passed
    copy.sizes = copy_of(copy.sizes)
    copy.sizes.replaced = True
    for faults in ([], [FaultSpan("worker_killed_full", 0.0, 1.0)]):
        copy.faults = faults
        report = conclude(copy)
        assert broken(report) == {"memory_growth", "memory_acceleration", "breaker_trips"}
        said = " ".join(text(report).split())
        assert "FAIL memory_growth < 500 MB not measured: a worker was replaced" in said
        assert "growth not measured: a worker was replaced" in said
        assert "FAIL breaker_trips = 0 not measured: a worker was replaced" in said
        assert "breaker trips not measured: a worker was replaced" in said


def test_a_stall_that_callers_wait_out_is_found_and_fills_the_corrected_percentiles(target: Target) -> None:
    load = Closed(users=8, requests=30, delay=0.01)
    required = thresholds("p95 < 2 s", "corrected_p95 < 2 s", "max < 2 s")
    report = conclude(execute(Plan("stall", load, thresholds=required, agent="stalling", patience=60), target))
    # one request in thirty is slow, so that the plain 95th percentile does not know of it
    assert broken(report) == {"corrected_p95", "max"}
    worst = report.series["latency"]["p99"]
    assert max(value for value in worst if value is not None) >= STALL


def test_a_leak_of_a_megabyte_in_a_hundred_requests_is_found(target: Target) -> None:
    def run(agent: str, seconds: float) -> Report:
        load = Open((Stage(seconds, 100, 100),), users=20)
        required = thresholds("memory_slope_low <= 0")
        plan = Plan(agent, load, thresholds=required, agent=agent, patience=60, look_every=0.04)
        report = conclude(execute(plan, target))
        # a busy machine may look too seldom to tell a slope
        return report if seconds < 8 or (report.memory and report.memory.slope) else run(agent, 2 * seconds)

    def slope(report: Report) -> Slope:
        assert report.memory is not None
        assert report.memory.slope is not None
        return report.memory.slope

    run("sound", 2)  # what a worker takes once
    steady, leaking = slope(run("sound", 8)), run("leaky", 8)
    assert "memory_slope_low" in broken(leaking)
    assert 0 <= slope(leaking).since <= leaking.duration
    a_request = slope(leaking).slope * leaking.duration / leaking.requests.total
    assert 0.5 * LEAKED < a_request < 2 * LEAKED
    for _ in range(3):  # on a busy machine a worker takes longer to have all that it takes once
        if steady.high >= slope(leaking).low:
            steady = slope(run("sound", 8))
    assert steady.high < slope(leaking).low, "no chance makes the one look like the other"
