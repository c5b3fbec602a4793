"""The catalogue of what is counted: declarations only, in a registry of their own that the default one serves.

What only a look at the whole fleet can tell is not here but in `pipeline.exporter`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Self

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

#: What this process counts. Agent code's own process serves it through prometheus_client's default registry.
CATALOGUE = CollectorRegistry()


class _Found(MetricWrapperBase):
    """A metric whose series are found by one look into its own table, once they are there.

    The library's own `labels` makes strings of the values and takes a lock each time: a quarter of what counting a
    request costs. Labels are strings here, in the order in which the metric names them.
    """

    def labels(self, *values: str) -> Self:  # type: ignore[override]
        found: Any = self._metrics.get(values)
        series: Self = found or super().labels(*values)
        return series


class _Counter(_Found, prometheus_client.Counter):
    pass


class _Histogram(_Found, prometheus_client.Histogram):
    pass


Counter = partial(_Counter, registry=CATALOGUE)
Gauge = partial(prometheus_client.Gauge, registry=CATALOGUE)
Histogram = partial(_Histogram, registry=CATALOGUE)

#: Seconds: of a request from acceptance to outcome, of waiting, of running.
LONG = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
#: Seconds: of what the pipeline itself takes.
SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)

# -- requests ---------------------------------------------------------------------------------------------------------

#: By whoever committed the outcome: `success`, `failure`, `cancelled`, `expired`.
REQUESTS = Counter("cite_agent_requests_total", "Requests that have ended", ["user_id", "status"])

REQUEST_DURATION = Histogram(
    "cite_agent_requests_duration_seconds", "From acceptance to outcome", ["user_id", "status"], buckets=LONG
)

IN_PROGRESS = Gauge(
    "cite_agent_requests_in_progress", "Requests that this worker runs now", multiprocess_mode="livesum"
)

#: From the moment at which an attempt was due to its claim; its session's and its user's turn included.
QUEUE_WAIT = Histogram("cite_agent_queue_wait_seconds", "From when an attempt was due to its claim", buckets=LONG)

ATTEMPTS = Histogram(
    "cite_agent_attempts_per_request", "Attempts that a request had when it ended", buckets=(0, 1, 2, 3, 4, 5, 10)
)

#: An attempt's claim, commit and all between them but the agent.
OVERHEAD = Histogram("cite_agent_overhead_seconds", "The pipeline's own part of an attempt", buckets=SHORT)

#: Requests that were refused because too many wait.
QUEUE_REJECTIONS = Counter("cite_agent_queue_rejections_total", "Requests refused because the queue is full")

#: Requests that were refused because their user sends too many.
RATE_LIMIT_HITS = Counter("cite_agent_rate_limit_hits_total", "Requests refused by their user's rate", ["user_id"])

#: Times that the depth of the queue was seen beyond its warning mark; once a while, over the whole fleet.
QUEUE_WARNINGS = Counter("cite_agent_queue_warnings_total", "Times that the queue was seen nearly full")

#: Requests that were let in although a limit could not be looked at.
UNCHECKED_ADMISSIONS = Counter(
    "cite_agent_unchecked_admissions_total", "Requests let in without a look at the limits", ["why"]
)

#: Requests that were refused because their session was busy, and those that made the running one stop.
BUSY_SESSIONS = Counter(
    "cite_agent_busy_sessions_total", "Requests that met a busy session and did not just queue", ["on_busy"]
)

#: Requests that were asked once more.
REPLAYS = Counter("cite_agent_replays_total", "Replays of requests that had ended without an answer")

# -- retries and rescue -----------------------------------------------------------------------------------------------

#: Counted when the retried attempt ends; `reason` is why it was made. One that was cancelled says nothing of retrying.
RETRIES = Counter("cite_agent_retry_attempts_total", "Retried attempts that have ended", ["reason", "success"])

RETRY_DELAY = Histogram("cite_agent_retry_delay_seconds", "From a failed attempt to the next", buckets=LONG)

RETRY_DURATION = Histogram(
    "cite_agent_retry_duration_seconds", "How long a retried attempt ran", ["success"], buckets=LONG
)

#: Waits without an attempt: a breaker is open, a provider's limit is spent.
DEFERRALS = Counter("cite_agent_deferrals_total", "Requests put off without an attempt", ["reason"])

#: Deliveries of a request that was not to be run: it ran already, had ended, or was not its session's turn.
DUPLICATE_DELIVERIES = Counter(
    "cite_agent_duplicate_deliveries_total", "Deliveries that were dropped because the request was not to be run"
)

#: Attempts whose claim was gone when they wanted to write: cancelled, too slow, or taken over.
LOST_CLAIMS = Counter("cite_agent_lost_claims_total", "Attempts that ended without their claim", ["why"])

#: Times that a worker's sign of life came so late that others may have taken its work.
LATE_HEARTBEATS = Counter("cite_agent_lease_losses_total", "Signs of life that came nearly a lease late, or later")

#: Times that a living worker was not known to the ledger any more: after a sleep of a day, or a restored database.
FORGOTTEN_WORKERS = Counter("cite_agent_forgotten_workers_total", "Living workers that had to register again")

#: Requests that recovery took care of.
RECOVERED = Counter("cite_agent_recovered_total", "Requests that recovery ended, ran again or published again", ["why"])

# -- providers --------------------------------------------------------------------------------------------------------

PROVIDER_REQUESTS = Counter("cite_agent_provider_requests_total", "Calls that have ended", ["provider", "status"])

PROVIDER_LATENCY = Histogram("cite_agent_provider_latency_seconds", "A call, whole", ["provider"], buckets=LONG)

FIRST_TOKEN = Histogram(
    "cite_agent_provider_first_token_seconds", "From sending a call to its first token", ["provider"], buckets=LONG
)

PROVIDER_ERRORS = Counter("cite_agent_provider_errors_total", "Calls that failed", ["provider", "error_type"])

#: `used` is false for what an attempt spent that did not answer its request, or on what became no summary.
TOKENS = Counter("cite_agent_provider_tokens_total", "Tokens that were paid for", ["provider", "direction", "used"])

COST = Counter("cite_agent_provider_cost_total", "Money, in the prices' currency", ["provider", "used"])

BREAKER_TRIPS = Counter("cite_agent_circuit_breaker_trips_total", "Times that a breaker opened", ["provider"])

#: Calls that a worker's own breakers and limits decided on, for the broker was away.
LOCAL_BREAKER = Counter("cite_agent_circuit_breaker_local_total", "Calls decided on without the broker")

# -- archiving --------------------------------------------------------------------------------------------------------

ARCHIVED_MESSAGES = Counter("cite_agent_session_archived_messages_total", "Messages moved to cold storage")

ARCHIVED_SESSIONS = Counter("cite_agent_sessions_archived_total", "Runs of archiving that moved something, by session")

#: Messages that came back.
RESTORED_MESSAGES = Counter("cite_agent_session_restored_messages_total", "Messages that were restored")

#: Objects that could not be written, read back or removed, by the class of the error.
ARCHIVE_FAULTS = Counter("cite_agent_archive_faults_total", "Operations on cold storage that failed", ["error"])

#: Summaries that a provider did not give.
SUMMARY_FAULTS = Counter(
    "cite_agent_summarizing_faults_total", "Summaries that a provider did not give", ["provider", "reason"]
)

#: Conversations, or users, of whom nothing is left.
ERASURES = Counter("cite_agent_erasures_total", "Erasures that are complete")

#: What an erasure could not remove at once, by where that was: it is tried again.
ERASURE_FAULTS = Counter("cite_agent_erasure_faults_total", "Removals that failed and are tried again", ["where"])

#: Requests, archives, objects and sums of money that are gone because their time was over.
RETIRED = Counter("cite_agent_retired_total", "What retention has removed", ["what"])

# -- servers and processes --------------------------------------------------------------------------------------------

#: What could not be given to the broker, or taken from it, and was left to recovery or to Postgres.
BROKER_FAULTS = Counter("cite_agent_broker_faults_total", "Operations on the broker that failed", ["operation"])

#: Looks of the heartbeat and of recovery that failed because Postgres was away.
LEDGER_FAULTS = Counter("cite_agent_ledger_faults_total", "Operations on the ledger that failed", ["operation"])

#: Looks of a process's own threads that ended in an error which nobody had foreseen: `heart`, `waiting`, and others.
THREAD_FAULTS = Counter("cite_agent_thread_faults_total", "Looks of threads that failed unforeseen", ["thread"])

#: Looks of the exporter at a source that did not answer; and, of any process, `scrape`: nothing could be served.
EXPORTER_FAULTS = Counter("cite_agent_exporter_faults_total", "Looks of the exporter that failed", ["source"])

#: Entries of a queue that were no message.
QUEUE_GARBAGE = Counter("cite_agent_queue_garbage_total", "Entries of a queue that were not messages", ["queue"])

#: As Celery sees them: `received`, `success`, `retry`, `failure`, `ignored`, `revoked`, `rejected`.
CELERY_TASKS = Counter("cite_agent_celery_tasks_total", "Celery tasks by what happened to them", ["name", "state"])

MEMORY = Gauge("cite_agent_memory_usage_bytes", "Resident memory of this process", multiprocess_mode="livesum")

BUILD = Gauge(
    "cite_agent_build_info", "1, and what runs here", ["version", "python", "celery"], multiprocess_mode="livemax"
)
