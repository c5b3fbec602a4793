"""What is private is taken out of a line, whoever wrote it."""

from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import structlog

from pipeline.logs import json_formatter
from pipeline.logs.redact import PRIVATE, PRIVATE_KEYS, Redactor, secrets_of
from pipeline.settings import ProviderSettings, Settings

SECRET = "correct-horse"


@pytest.fixture
def redactor() -> Redactor:
    return Redactor([SECRET])


@pytest.mark.parametrize(
    ("line", "cleaned"),
    [
        ("connected to redis://me:hunter2@broker:6379/0", f"connected to redis://me:{PRIVATE}@broker:6379/0"),
        ("postgresql://:p%40ss@db/pipeline is away", f"postgresql://:{PRIVATE}@db/pipeline is away"),
        ("Authorization: Bearer abcdefgh12345678", f"Authorization: Bearer {PRIVATE}"),
        ("the key sk-proj-abcdefgh12345678 is wrong", f"the key {PRIVATE} is wrong"),
        (f"said {SECRET}.", f"said {PRIVATE}."),
        ("https://example.org:8000/v1?a=b@c", "https://example.org:8000/v1?a=b@c"),
        ("basic facts of a bearer", "basic facts of a bearer"),
    ],
)
def test_credentials_are_taken_out_of_any_text(line: str, cleaned: str, redactor: Redactor) -> None:
    assert redactor.clean(line) == cleaned


def test_what_postgres_says_of_a_row_is_taken_out(database: str, redactor: Redactor) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (words text CHECK (words = 'none'), more text)")
        with pytest.raises(psycopg.errors.CheckViolation) as refused:
            connection.execute("INSERT INTO kept VALUES (%s, 'x')", ["what the user\nwrote:\n\nin lines"])
    said = str(refused.value)
    assert "what the user" in said
    cleaned = redactor.clean(f"Traceback:\n{said}\n")
    assert "violates check constraint" in cleaned
    assert not any(words in cleaned for words in ("what the user", "wrote", "in lines"))


def test_private_keys_have_no_value_however_deep(redactor: Redactor) -> None:
    event = {"event": "x", "prompt": "words", "seconds": 1, "facts": {"api_key": "words", "n": [f"a {SECRET}"]}}
    assert redactor(None, "info", event) == {
        "event": "x",
        "prompt": PRIVATE,
        "seconds": 1,
        "facts": {"api_key": PRIVATE, "n": [f"a {PRIVATE}"]},
    }


def test_the_secrets_of_the_settings_are_known_as_they_are_and_as_a_url_has_them() -> None:
    settings = Settings(
        database_url="postgresql://me:p%40ss-word@db/x",
        broker_url="redis://broker",
        providers=[ProviderSettings(name="a", base_url="http://a", model="m", api_key="the-key")],
    )
    assert secrets_of(settings) == ["p%40ss-word", "p@ss-word", "the-key"]


@pytest.fixture
def written(redactor: Redactor) -> Iterator[io.StringIO]:
    """What a logger with the formatter for machines writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(json_formatter(redactor))
    logger = logging.getLogger("somebody.elses")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)


def test_a_foreign_line_is_one_object_with_the_ids_of_its_thread(written: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r", attempt=2):
        logging.getLogger("somebody.elses").info("said %s\nin two lines", SECRET)
    (line,) = written.getvalue().splitlines()
    told = json.loads(line)
    assert told.pop("timestamp").endswith("Z")
    assert told == {
        "event": f"said {PRIVATE}\nin two lines",
        "logger": "somebody.elses",
        "level": "info",
        "request_id": "r",
        "attempt": 2,
    }


def test_an_error_is_one_object_with_its_traceback_and_without_secrets(written: io.StringIO) -> None:
    try:
        int(SECRET)
    except ValueError:
        logging.getLogger("somebody.elses").exception("it broke")
    (line,) = written.getvalue().splitlines()
    told = json.loads(line)
    assert told["exception"].endswith(f"with base 10: '{PRIVATE}'")
    assert told["level"] == "error"


def test_no_line_of_ours_has_a_fact_under_a_name_whose_values_are_taken_out() -> None:
    package = Path(__file__).parents[2] / "pipeline"
    calls = [
        (str(file.relative_to(package)), node.lineno, {keyword.arg for keyword in node.keywords})
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "log"
    ]
    assert len(calls) > 50
    assert not [(file, line, found) for file, line, keys in calls if (found := keys & PRIVATE_KEYS)]
