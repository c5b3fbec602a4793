"""Secrets in settings are never printed, nor quoted by what refuses them."""

from __future__ import annotations

import json

import pytest

from tests.test_settings import PROVIDERS, SECRET, nothing_set, read, refusal

__all__ = ["nothing_set"]


def test_secrets_are_not_in_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch,
        database_url=f"postgresql://ada:{SECRET}@host/x",
        broker_url=f"redis://:{SECRET}@host",
        providers=json.dumps(PROVIDERS),
    )
    for shown in (repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in shown
    assert settings.providers[0].api_key.get_secret_value() == SECRET


WRONG = {
    "another variable is wrong": {"database_url": f"postgresql://ada:{SECRET}@host/x", "lease": "soon"},
    "a scheme is unknown": {"database_url": f"mysql://ada:{SECRET}@host/x"},
    "the broker's scheme is unknown": {"broker_url": f"amqp://:{SECRET}@host"},
    "leases do not fit": {"database_url": f"postgresql://ada:{SECRET}@host/x", "lease": "1"},
    "a provider's address is missing": {"providers": json.dumps([{"name": "a", "model": "m", "api_key": SECRET}])},
    "a provider has too much": {"providers": json.dumps([{**PROVIDERS[0], "more": SECRET}])},
    "two providers have one name": {"providers": json.dumps(PROVIDERS * 2)},
}


@pytest.mark.parametrize("variables", WRONG.values(), ids=WRONG.keys())
def test_secrets_are_not_in_a_refusal(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    assert SECRET not in refusal(monkeypatch, **variables)


@pytest.mark.parametrize("url", [f"host=db user=ada password={SECRET}", SECRET, f"{SECRET}@host/x"])
@pytest.mark.parametrize("name", ["database_url", "broker_url"])
def test_secrets_are_not_in_a_refusal_of_what_is_no_url(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    assert SECRET not in refusal(monkeypatch, **{name: url})


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("database_url", f"postgresql://ada:{SECRET}/x@host/x"),  # is a port to Postgres's library
        ("database_url", f"postgresql://ada:x@{SECRET}@host/x"),  # is of the host
        ("database_url", f"postgresql://ada:{SECRET} x@host/x"),
        ("database_url", f"postgresql://ada:{SECRET}%zz@host/x"),
        ("broker_url", f"redis://:{SECRET}/x@host"),
        ("broker_url", f"redis://:{SECRET}#x@host"),
        ("broker_url", f"redis://:{SECRET}?x@host"),
        ("broker_url", f"redis://:{SECRET}\u2100@host"),
    ],
)
def test_a_password_that_is_not_encoded_is_refused_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    said = refusal(monkeypatch, **{name: url})
    assert f"CITE_AGENT_{name.upper()}: cannot be read" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:p%2F%40@one:5432,two:5433/x",
        "postgresql://ada@[::1]:5432/x",
        "postgresql:///x?host=/run/a@b",
        "postgresql://one,two/x",
    ],
)
def test_a_database_url_of_every_form_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert read(monkeypatch, database_url=url).database == url
