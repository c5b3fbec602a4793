"""What is asked for on the command line is what is planned, and what makes no sense is refused by its name."""

from __future__ import annotations

import pytest

from stress.chaos.options import parse as parse_chaos
from stress.options import parse
from stress.plan import Closed, Open, Plan, Profile, Stage
from stress.report.single import is_figure
from stress.scenarios import SCENARIOS


def planned(*given: str) -> Plan:
    return parse(list(given), "stress")[0]


def test_users_and_requests_make_a_closed_load() -> None:
    plan = planned("--users", "50", "--requests", "3", "--delay", "20", "--faults", "20%")
    assert plan.load == Closed(users=50, requests=3, delay=0.02)
    assert plan.profile == Profile(faults=0.2)


@pytest.mark.parametrize(("given", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h", 3600)])
def test_a_duration_may_have_a_unit(given: str, seconds: float) -> None:
    assert planned("--users", "20", "--duration", given).load == Closed(users=20, duration=seconds)


def test_users_may_interrupt_themselves_or_be_sent_away() -> None:
    interrupting = planned("--users", "5", "--no-wait", "--delay", "200", "--on-busy", "interrupt").load
    assert interrupting == Closed(users=5, delay=0.2, wait=False, on_busy="interrupt")
    assert str(interrupting).endswith('200 ms apart, without waiting, on_busy="interrupt"')
    rejected = planned("--rate", "50:9s", "--on-busy", "reject").load
    assert rejected == Open((Stage(9, 50, 50),), on_busy="reject")
    assert str(rejected).endswith('of 100 users, on_busy="reject"')
    assert str(planned("--no-wait", "--delay", "0").load).endswith("sent at once")


def test_rates_make_an_open_load_of_stages() -> None:
    load = planned("--rate", "5..100:30s", "--rate", "100", "--duration", "1m").load
    assert load == Open((Stage(30, 5, 100), Stage(60, 100, 100)))
    assert str(load) == "open: 5 to 100/s for 30 s, 100/s for 60 s, of 100 users"


def test_a_scenario_can_be_changed_and_keeps_what_it_requires() -> None:
    assert planned("--scenario", "50_users") == SCENARIOS["50_users"]
    plan = planned("--scenario", "50_users", "--requests", "1", "--require", "p95 < 1 s")
    assert plan.name == "50_users, changed"
    assert plan.load == Closed(users=50, requests=1)
    assert [each.text for each in plan.thresholds][-1] == "p95 < 1 s"
    assert len(plan.thresholds) == 4


def test_settings_of_the_stack_are_named_as_in_the_environment() -> None:
    assert planned("--set", "USER_CONCURRENCY=5", "--set", "CITE_AGENT_LEASE=6").settings == {
        "USER_CONCURRENCY": "5",
        "LEASE": "6",
    }


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--users", "0"), "--users: 0"),
        (("--rate", "50"), "for how long"),
        (("--rate", "50", "--duration", "9", "--requests", "3"), "--rate"),
        (("--rate", "fast:9"), "'fast:9' is no rate"),
        (("--rate", "0:9"), "above 0"),
        (("--rate", "nan:1s"), "above 0"),
        (("--rate", "inf:1s"), "above 0"),
        (("--rate", "5:-3s"), "'-3s' is no duration"),
        (("--rate", "5:0"), "'0': a duration is above 0 s"),
        (("--rate", "0.5:1s"), "--rate: 0.5/s for 1 s makes no request"),
        (("--rate", "5:3s", "--users", "0"), "--users: 0"),
        (("--duration", "0"), "--duration: '0'"),
        (("--duration=-1",), "--duration: '-1'"),
        (("--duration", "inf"), "--duration: 'inf'"),
        (("--patience", "0"), "--patience: '0'"),
        (("--workers", "0"), "--workers: 0 is no number of at least 1"),
        (("--processes", "-1"), "--processes: -1 is no number of at least 0"),
        (("--delay", "nan"), "--delay: nan"),
        (("--duration", "soon"), "'soon' is no duration"),
        (("--faults", "120%"), "'120%' is no share"),
        (("--require", "p96 < 2 s"), "'p96' is no figure"),
        (("--require", "p95"), "is not like"),
        (("--set", "LEASE"), "--set LEASE"),
        (("--set", "LAESE=3"), "--set LAESE: is no setting; did you mean LEASE?"),
        (("--set", "CITE_AGENT_STACK_FILE=x"), "--set CITE_AGENT_STACK_FILE: is no setting"),
        (("--attach", "--set", "LEASE=3"), "--set: is for the stack that is started"),
        (("--broker-url", "redis://localhost", "--workers", "3"), "--workers: is for the stack that is started"),
        (("--simulator-url", "http://localhost:9000"), "--simulator-url: is for a pipeline that runs"),
        (("--metrics-url", "http://localhost:9000"), "--metrics-url: is for a pipeline that runs"),
        (("--attach", "--simulator-url", "localhost:9000"), "--simulator-url: 'localhost:9000' is no URL like"),
        (("--attach", "--simulator-url", "http://localhost:no"), "'http://localhost:no' is no URL like"),
        (("--attach", "--metrics-url", "/metrics"), "--metrics-url: '/metrics' is no URL like"),
        (("--database-url", "mysql://localhost"), "--database-url: scheme 'mysql' is not one of postgresql://"),
        (("--database-url", ""), "--database-url: what it begins with is not one of postgresql://"),
        (("--broker-url", "amqp://localhost"), "--broker-url: scheme 'amqp' is not one of redis://"),
        (("--no-wait", "--duration", "9"), "--no-wait"),
        (("--scenario", "eleven"), "eleven"),
        (("--output", "/nowhere/at/all.json"), "--output /nowhere/at/all.json: there is no folder /nowhere/at"),
        (("--report", "/"), "--report /: is a folder"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(
    given: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        planned(*given)
    assert refusal.value.code == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    [
        ("--database-url", "postgresql://me:hun/ter2@localhost/x"),
        ("--broker-url", "redis://:hun/ter2@localhost"),
        ("--attach", "--metrics-url", "http://me:hun/ter2@localhost"),
        ("--set", "LAESE=hun/ter2"),
    ],
)
def test_no_password_is_said_of_what_is_refused(given: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        planned(*given)
    said = capsys.readouterr().err
    assert "hun" not in said
    assert "ter2" not in said


def test_the_chaos_run_too_knows_the_names_of_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_chaos(["--set", "LAESE=3"], "chaos")
    assert "--set LAESE: is no setting; did you mean LEASE?" in capsys.readouterr().err


def test_the_promised_scenarios_are_there_with_the_promised_thresholds() -> None:
    promised = {
        "10_users": (50, ["success_rate > 90 %", "mean < 1 s", "memory_growth < 100 MB"]),
        "50_users": (150, ["success_rate > 85 %", "mean < 2 s", "memory_growth < 200 MB"]),
        "100_users": (200, ["success_rate > 70 %", "mean < 5 s", "memory_growth < 500 MB"]),
        "sustained": (500, ["success_rate > 90 %", "memory_acceleration < 2"]),
        "rapid_fire": (100, ["success_rate > 90 %", "duration < 60 s"]),
    }
    for name, (total, required) in promised.items():
        plan = SCENARIOS[name]
        assert plan.load.total == total
        assert [each.text for each in plan.thresholds] == required
        assert plan.profile == Profile(median=0.25, p99=1.0, faults=0.02, seed=1)
        assert plan.workers == 2


def test_every_scenario_requires_figures_that_a_report_has() -> None:
    for plan in SCENARIOS.values():
        assert all(is_figure(threshold.figure) for threshold in plan.thresholds)
