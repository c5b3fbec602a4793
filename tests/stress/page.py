"""A page as a headless browser shows it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
)


@dataclass(frozen=True)
class Shown:
    """What is there once the scripts have run: their errors, and the lines of each chart, by its figure's id."""

    complaints: str
    charts: dict[str, int]
    text: str


class Browser:
    """Chromium, where it is installed; a test that wants it is skipped elsewhere."""

    def __init__(self, profile: Path) -> None:
        found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if found is None:
            pytest.skip("there is no Chromium")
        self._command = [found, *QUIET, f"--user-data-dir={profile / 'browser'}", "--enable-logging=stderr"]

    def open(self, page: Path) -> Shown:
        """Load a file, wait for its scripts, and read what came of it."""
        done = subprocess.run(
            [*self._command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=90, check=True
        )
        complaints = re.search(r'data-complaints="([^"]*)"', done.stdout)
        assert complaints, "the script did not come to its end: " + done.stderr[-2000:]
        logged = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        figures = re.findall(r'<figure id="(\w+)">(.*?)</figure>', done.stdout, re.DOTALL)
        return Shown(
            complaints="; ".join(filter(None, [unescape(complaints[1]), *logged])),
            charts={name: len(re.findall(r'<path d="M[^"]+', inner)) for name, inner in figures},
            text=unescape(re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", done.stdout, flags=re.DOTALL)),
        )
