from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

CLI = "import typer; from pipeline.cli.simulate import simulate; typer.run(simulate)"


@contextmanager
def started(*command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


BEHAVIOUR = json.dumps({"sequence": ["503"]})
COMMANDS = [
    ["-m", "pipeline.providers.simulator", "--seed", "3", "--behaviour", BEHAVIOUR],
    ["-c", CLI, "--seed", "3", "--next", "503", "--rate", "429=0", "--median", "0.01", "--p99", "0.02"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=["module", "command"])
def test_it_is_a_process_that_tells_its_url_and_stops_on_a_signal(command: list[str]) -> None:
    with started(*command) as (process, url):
        asked = {"messages": [{"role": "user", "content": "hello"}]}
        responses = [httpx2.post(f"{url}/chat/completions", json=asked) for _ in range(2)]
        assert [response.status_code for response in responses] == [503, 200]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_wrong_arguments_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    with started(*COMMANDS[1], "--next", "nonsense") as (process, _):
        assert process.wait(60) == 2
    assert "nonsense" in capfd.readouterr().err
