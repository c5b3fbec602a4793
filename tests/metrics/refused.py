"""Agent code that is refused, as a process of its own: `python -m tests.metrics.refused [--scraped]`.

Prints what it saw: the refusals by their class, those by the rate by user, too; and with `--scraped` what the default
registry serves, as if asked by a scraper.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import closing

from prometheus_client import generate_latest

from pipeline import Client
from pipeline.errors import NotAdmitted
from pipeline.settings import Settings, current
from tests.servers import eventually

#: Users who ask too fast, how often they do, and how often they may; refusals for the full queue to be seen.
USERS, TRIES, ALLOWED, FULL = 3, 6, 2, 5

saw: Counter[str] = Counter()
by_user: Counter[str] = Counter()


def ask(client: Client, user: str) -> int:
    """Ask once more. Returns for how full a queue that was refused."""
    try:
        client.submit("Let me in.", user_id=user, conversation_id="only", agent="wait")
    except NotAdmitted as refusal:
        kind = type(refusal).__name__
        saw[kind] += 1
        by_user[user] += kind == "RateLimited"
    return saw["QueueFull"]


def limited(settings: Settings, **limits: object) -> closing[Client]:
    return closing(Client(settings.model_copy(update=limits)))


def main() -> None:
    settings = current()
    with limited(settings, user_rate=f"{ALLOWED}/hour") as client:
        for n in range(USERS * TRIES):
            ask(client, f"too fast {n % USERS}")
        with limited(settings, queue_limit=1) as hindered:
            eventually(lambda: ask(hindered, "too late") == FULL, 60, what="the queue is found full")
        served = generate_latest().decode() if "--scraped" in sys.argv else ""
    print(json.dumps({"saw": saw, "by_user": +by_user, "served": served}))  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
