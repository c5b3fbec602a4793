"""What only a look at the whole can tell, for Prometheus; and what processes that have ended left to be served.

One a fleet is enough, and two do no harm but for serving the same twice. What it serves is at most `FRESH` seconds
old. A source that does not answer, or not as it should, is left out, and told by `cite_agent_exporter_up`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

import psycopg
import structlog
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from pipeline import beat, broker, signals
from pipeline.broker import FAULTS
from pipeline.errors import ConfigurationError
from pipeline.providers import breaker
from pipeline.schemas import Priority, Status
from pipeline.settings import Settings
from pipeline.store.archives import Rules, lag
from pipeline.store.database import UNAVAILABLE, Database
from pipeline.store.measures import inheritance, users, whole
from pipeline.users import OTHER

log = structlog.get_logger(__name__)

#: Seconds for which a look is served again.
FRESH = 2.0

#: States of an unfinished request, as `whole.UNFINISHED` tells them.
STATES = ("waiting", "delayed", "running", "stuck")

#: What a source raises that does not answer, or whose answer cannot be read: a table is missing, an entry is no number.
BROKEN = (psycopg.Error, ConfigurationError, *UNAVAILABLE, *FAULTS, ValueError)

Source = Callable[[], Iterable[Metric]]


class Exporter:
    """Looks at the ledger and the broker when it is asked and its last look is too old."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings.database, size=2)
        self._client = broker.connect(settings.broker, settings.broker_timeout)
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._families: list[Metric] = []
        self._inherits = True
        self._sources: dict[str, Source] = {
            "ledger": self._ledger,
            "broker": self._broker,
            "breakers": self._breakers,
            "archive": self._archive,
        }

    def look(self, seen: bool) -> Iterable[Metric]:  # noqa: FBT001 - the server's signature
        """All there is to serve."""
        self._inherits = self._inherit()
        with self._lock:
            if time.monotonic() - self._looked_at > FRESH:
                self._families = list(self.refresh())
                self._looked_at = time.monotonic()
            families = self._families
        return [*families, *signals.estate.look(seen=seen)]

    def refresh(self) -> Iterator[Metric]:
        """Look at every source."""
        up = _gauge("exporter_up", "Whether the exporter's source answered", ["source"])
        up.add_metric(["counts"], self._inherits)
        took = _gauge("exporter_refresh_seconds", "How long the exporter's source took", ["source"])
        for name, source in self._sources.items():
            began = time.monotonic()
            try:
                yield from list(source())
                up.add_metric([name], 1)
            except BROKEN as fault:
                up.add_metric([name], 0)
                _tell(name, fault)
            took.add_metric([name], time.monotonic() - began)
        yield from (up, took)

    def close(self) -> None:
        """Leave what nobody has scraped, and close the connections."""
        inheritance.leave(self._database)
        self._database.close()
        self._client.close()

    def _inherit(self) -> bool:
        """Take over what others have left. Returns whether that could be asked for."""
        try:
            answered = inheritance.adopt(self._database)
            users.look(self._database)
        except BROKEN as fault:
            _tell("counts", fault)
            return False
        return answered

    def _ledger(self) -> Iterator[Metric]:
        settings = self._settings
        found = whole.look(self._database, lease=settings.lease, patience=settings.recovery_interval * 3)
        depth = found.count("waiting") + found.count("delayed")
        yield _single("queue_depth", "Requests accepted and not yet running", depth)
        by_state = _gauge("queue_requests", "Unfinished requests", ["queue", "state"])
        for queue in Priority:
            for state in STATES:
                by_state.add_metric([queue.name, state], found.count(state, queue.name))
        yield by_state
        yield _single("oldest_waiting_seconds", "How long the oldest has waited that could run", found.oldest_waiting)
        by_status = _gauge("ledger_requests", "Requests in the ledger", ["status"])
        for status, count in found.by_status.items():
            by_status.add_metric([status.value], count)
        yield by_status
        yield _single("dead_letters", "Requests that ended as failed and are kept", found.ended.get(Status.failed, 0))
        workers = _gauge("workers", "Workers that live, and that died in the last ten minutes", ["state"])
        workers.add_metric(["alive"], found.workers_alive)
        workers.add_metric(["lost"], found.workers_lost)
        yield workers
        yield _single("hot_messages", "Messages in Postgres", found.hot)
        history = _gauge("conversation_history_size", "Messages in Postgres by user", ["user_id"])
        for user, messages in found.hot_of_labelled.items():
            history.add_metric([user], messages)
        history.add_metric([OTHER], found.hot - sum(found.hot_of_labelled.values()))
        yield history

    def _broker(self) -> Iterator[Metric]:
        queues = [*(priority.name for priority in Priority), "archive", "maintenance"]
        with self._client.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.llen(queue)
            lengths = pipe.execute()
        length = _gauge("broker_queue_messages", "Messages that wait in the broker", ["queue"])
        for queue, messages in zip(queues, lengths, strict=True):
            length.add_metric([queue], messages)
        yield length
        now, seen = time.time(), beat.last_seen(self._client)
        alive = [name for name, at in seen.items() if now - at < self._settings.recovery_interval * 4]
        yield _single("beats", "Beats at work; there should be one", len(alive))
        if seen:
            at = max(seen.values())
            yield _single("beat_last_timestamp_seconds", "When a beat last sent something", at)

    def _breakers(self) -> Iterator[Metric]:
        worst: dict[str, int] = {}
        by_model = _gauge("circuit_breaker_model_state", "0 closed, 1 half-open, 2 open", ["provider", "model"])
        for one in breaker.states(self._client, self._settings):
            by_model.add_metric([one.provider, one.model], one.level)
            worst[one.provider] = max(worst.get(one.provider, 0), one.level)
        by_provider = _gauge("circuit_breaker_state", "0 closed, 1 half-open, 2 open: the worst", ["provider"])
        for provider, state in worst.items():
            by_provider.add_metric([provider], state)
        yield from (by_provider, by_model)

    def _archive(self) -> Iterator[Metric]:
        behind = lag(self._database, Rules.from_settings(self._settings))
        yield _single("sessions_due", "Sessions that are to be archived", behind.sessions)
        yield _single("archive_lag_seconds", "How long the first of them has been due", behind.seconds)


def _tell(source: str, fault: Exception) -> None:
    signals.exporter_failed(source)
    log.warning("exporter_source_away", source=source, error=type(fault).__name__)


def _gauge(name: str, documentation: str, labels: list[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"cite_agent_{name}", documentation, labels=labels)


def _single(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"cite_agent_{name}", documentation, value=value)
