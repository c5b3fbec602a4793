"""Settings are read once, typed, and loud when wrong; secrets are never printed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline import stackfile
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings, current

SECRET = "hunter2"

PROVIDERS = [{"name": "first", "base_url": "http://127.0.0.1:1/v1", "model": "big", "api_key": SECRET}]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable, no `.env`, no stack but those that a test makes."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CITE_AGENT_{name.upper()}", raising=False)
    monkeypatch.setenv("CITE_AGENT_STACK_FILE", str(tmp_path / "stack.json"))
    monkeypatch.chdir(tmp_path)
    current.cache_clear()


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    """The settings of a process with these variables. Raises what `current` does."""
    for name, value in variables.items():
        monkeypatch.setenv(f"CITE_AGENT_{name.upper()}", value)
    current.cache_clear()
    return current()


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        read(monkeypatch, **variables)
    return str(refused.value)


def test_what_was_promised_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    assert (settings.max_messages_in_memory, settings.max_retry_attempts, settings.user_concurrency) == (50, 3, 3)
    assert (settings.retry_initial_delay, settings.retry_max_delay, settings.retry_jitter) == (1, 30, True)
    assert settings.retry_status_codes == {429, 500, 502, 503, 504}
    assert (settings.provider_timeout, settings.run_timeout, settings.deadline) == (60, 300, 3600)
    assert (settings.lease, settings.heartbeat, settings.recovery_interval) == (12, 3, 3)
    assert (settings.routing, settings.breaker_failure_rate, settings.breaker_min_calls) == ("order", 0.5, 10)
    assert (settings.breaker_window, settings.breaker_open_seconds, settings.breaker_half_open_calls) == (60, 30, 3)


def test_one_connection_is_too_few_and_the_refusal_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(monkeypatch, database_pool_size="1")
    assert "CITE_AGENT_DATABASE_POOL_SIZE: 1 must be at least 2: recovery holds one" in said
    assert read(monkeypatch, database_pool_size="2").database_pool_size == 2


def test_they_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(monkeypatch, lease="20")
    monkeypatch.setenv("CITE_AGENT_LEASE", "40")
    assert current() is first


def test_a_variable_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, lease="20.5", worker_slots="7", retry_jitter="off")
    assert (settings.lease, settings.worker_slots, settings.retry_jitter) == (20.5, 7, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lease", "soon"), ("lease", "0"), ("lease", "-1"), ("lease", ""), ("worker_slots", "1.5"),
        ("worker_slots", "0"), ("retry_jitter", "perhaps"), ("log_format", "xml"), ("user_concurrency", "three"),
        ("retry_status_codes", "429,many"), ("providers", '[{"name": "first"}]'), ("providers", '{"name": "first"}'),
        ("providers", '[{"name": "A B", "base_url": "http://x", "model": "m"}]'),
        ("providers", '[{"name": "a", "base_url": "http://x", "model": "m", "colour": "red"}]'),
        ("providers", '[{"name": "a", "base_url": "http://x", "model": "m", "max_concurrency": 0}]'),
        ("routing", "random"), ("breaker_failure_rate", "0"), ("breaker_failure_rate", "1.1"), ("breaker_window", "0"),
        ("recent_context_window", "0"), ("archive_hours", "0"), ("archive_compression", "gzip"), ("summary_by", "me"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    assert f"CITE_AGENT_{name.upper()}" in refusal(monkeypatch, **{name: value})


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = refusal(monkeypatch, lease="soon", worker_slots="0").splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["CITE_AGENT_LEASE", "CITE_AGENT_WORKER_SLOTS"]


def test_providers_that_are_no_json_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "CITE_AGENT_PROVIDERS" in refusal(monkeypatch, providers="first,second")


@pytest.mark.parametrize(
    ("name", "value"),
    [("database_url", "mysql://localhost/x"), ("broker_url", "amqp://localhost"), ("heartbeat", "10")],
)
def test_what_is_refused_as_a_whole_is_named_too(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    assert f"CITE_AGENT_{name.upper()}" in refusal(monkeypatch, **{name: value})


@pytest.mark.parametrize("lease", ["5.9", "3", "1"])
def test_a_lease_that_one_late_heartbeat_loses_is_refused(monkeypatch: pytest.MonkeyPatch, lease: str) -> None:
    message = refusal(monkeypatch, lease=lease)
    assert "heartbeat (3 s)" in message
    assert f"lease ({lease} s)" in message


def test_a_lease_of_two_heartbeats_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, lease="6").lease == 6


@pytest.mark.parametrize("name", ["run_timeout", "deadline"])
def test_a_limit_that_cuts_calls_off_before_their_provider_is_late_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    message = refusal(monkeypatch, **{name: "29.5"})
    assert f"CITE_AGENT_{name.upper()}: {name} (29.5 s) must be at least provider_first_token_timeout (30 s)" in message
    for limit in ("provider_first_token_timeout", "provider_timeout"):
        with monkeypatch.context() as lowered:
            assert getattr(read(lowered, **{name: "29.5", limit: "29"}), name) == 29.5


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"recent_context_window": "50"}, ["RECENT_CONTEXT_WINDOW: 50", "max_messages_in_memory (50)"]),
        ({"archive_threshold": "9"}, ["ARCHIVE_THRESHOLD: 9", "recent_context_window (10)"]),
        ({"archive_hours": "25", "session_idle_days": "1"}, ["ARCHIVE_HOURS: 25", "session_idle_days (1 days)"]),
        ({"cold_storage_url": ""}, ["COLD_STORAGE_URL: ''", "folder"]),
        ({"cold_storage_url": "ftp://host/x"}, ["COLD_STORAGE_URL: 'ftp'", "s3"]),
        ({"cold_storage_url": f"s3://key:{SECRET}@bucket"}, ["COLD_STORAGE_URL", "credentials"]),
    ],
)
def test_settings_of_archiving_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], names: list[str]
) -> None:
    message = refusal(monkeypatch, **wrong)
    assert [name for name in names if name not in message] == []
    assert SECRET not in message


def test_archives_are_where_it_is_set_or_where_the_stack_has_them_or_in_the_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read(monkeypatch).cold_storage == "~/.cite_agent/session_archives/"
    stackfile.write(
        stackfile.Stack(os.getpid(), "postgresql:///up", "unix:///up.sock", cold_storage_url="/up/archives")
    )
    assert read(monkeypatch).cold_storage == "/up/archives"
    assert read(monkeypatch, database_url="postgresql:///mine").cold_storage == "~/.cite_agent/session_archives/"
    assert read(monkeypatch, cold_storage_url="s3://bucket").cold_storage == "s3://bucket"


@pytest.mark.parametrize("given", ["429,503", " 429 , 503,", "[429, 503]", "[429,503]"])
def test_a_list_is_written_with_commas(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    assert read(monkeypatch, retry_status_codes=given).retry_status_codes == {429, 503}


def test_a_list_of_names_is_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, agents="my.agents, your.agents").agents == ["my.agents", "your.agents"]
    assert read(monkeypatch, agents="").agents == []


def test_two_providers_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "name of its own" in refusal(monkeypatch, providers=json.dumps(PROVIDERS * 2))


# -- where they come from ---------------------------------------------------------------------------------------------


def test_a_budget_that_nothing_is_counted_against_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = {**PROVIDERS[0], "daily_budget": 5}
    message = refusal(monkeypatch, providers=json.dumps([budget]))
    assert "CITE_AGENT_PROVIDERS: daily_budget of 'first' is never spent without prices; give input_price" in message
    assert read(monkeypatch, providers=json.dumps([{**budget, "output_price": 1}])).providers[0].daily_budget == 5


def test_a_file_named_env_is_read_and_variables_beat_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CITE_AGENT_LEASE=20\nCITE_AGENT_WORKER_SLOTS=7\nSOMETHING_ELSE=1\n")
    settings = read(monkeypatch, worker_slots="8")
    assert (settings.lease, settings.worker_slots) == (20, 8)


def test_a_wrong_value_in_the_file_is_named_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CITE_AGENT_LEASE=soon\n")
    assert "CITE_AGENT_LEASE" in refusal(monkeypatch)


def test_arguments_beat_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITE_AGENT_LEASE", "20")
    assert Settings(lease=30).lease == 30


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["postgresql://ada@host/x", "postgres://host/x", "postgresql:///x?host=/tmp"])
def test_a_database_may_be_named_so(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert read(monkeypatch, database_url=url).database == url


@pytest.mark.parametrize("url", ["redis://host:6379/0", "rediss://:pw@host", "unix:///run/valkey.sock"])
def test_a_broker_may_be_named_so(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert read(monkeypatch, broker_url=url).broker == url


@pytest.mark.parametrize(("name", "url"), [("database_url", "mysql://host/x"), ("broker_url", "amqp://host")])
def test_an_unknown_scheme_is_refused_with_those_that_are_known(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    message = refusal(monkeypatch, **{name: url})
    assert f"CITE_AGENT_{name.upper()}: scheme '{url.partition(':')[0]}'" in message
    assert {"database_url": "postgresql://", "broker_url": "rediss://"}[name] in message


def test_without_a_stack_and_an_address_both_remedies_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    for name in ("database", "broker"):
        with pytest.raises(ConfigurationError, match=f"CITE_AGENT_{name.upper()}_URL is not set") as refused:
            getattr(settings, name)
        assert "Start one with `pipeline up`, or set CITE_AGENT_DATABASE_URL and CITE_AGENT_BROKER_URL." in str(
            refused.value
        )
        assert "stack.json" in str(refused.value)


def test_a_running_stack_is_found_and_what_is_set_beats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stackfile.write(stackfile.Stack(os.getpid(), "postgresql:///up", "unix:///up.sock", "http://127.0.0.1:9/v1"))
    settings = read(monkeypatch, broker_url="redis://mine")
    assert (settings.database, settings.broker) == ("postgresql:///up", "redis://mine")
    assert [one.name for one in settings.configured_providers] == ["simulator"]
    assert [one.name for one in read(monkeypatch, providers=json.dumps(PROVIDERS)).configured_providers] == ["first"]


def test_without_a_stack_there_are_no_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch).configured_providers == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "inf") for name in ("deadline", "lease", "ageing", "archive_hours", "retention_days")),
        *((name, "nan") for name in ("deadline", "breaker_window", "restore_grace_hours")),
        *(("deadline", "315360001"), ("retention_days", "36526"), ("max_retry_attempts", "101")),
        *((name, str(2**31)) for name in ("stream_seconds", "worker_slots", "metrics_max_users")),
    ],
)
def test_what_no_clock_or_counter_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    assert f"CITE_AGENT_{name.upper()}" in refusal(monkeypatch, **{name: value})


@pytest.mark.parametrize("price", ["Infinity", "NaN"])
def test_a_price_is_a_number(monkeypatch: pytest.MonkeyPatch, price: str) -> None:
    provider = f'{{"name": "p", "base_url": "http://127.0.0.1:1/v1", "model": "m", "input_price": {price}}}'
    assert "INPUT_PRICE" in refusal(monkeypatch, providers=f"[{provider}]")
