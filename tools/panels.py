"""What the dashboards show: every panel with its queries. `tools.dashboards` makes Grafana's files of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph: each query with its legend, in Grafana's names."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    description: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading; once for each value of a variable where one is named."""

    title: str
    panels: tuple[Panel, ...]
    repeat: str | None = None


def rate(metric: str, by: str = "", where: str = "") -> str:
    """How often a second."""
    return f"sum{f' by ({by})' if by else ''} (rate(cite_agent_{metric}{where}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str = "", where: str = "") -> str:
    """What so large a share stays below."""
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', f'le, {by}' if by else 'le', where)})"


def percentiles(metric: str, where: str = "") -> tuple[tuple[str, str], ...]:
    return tuple(
        (quantile(share, metric, where=where), name) for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    )


USER = '{user_id="$user"}'
SUCCEEDED, NOT_CANCELLED = '{status="success"}', '{status!="cancelled"}'
AGAIN, USED = '{success="false"}', '{used="true"}'

OVERVIEW = (
    Row(
        "Requests",
        (
            Panel("Request rate", "reqps", ((rate("requests_total", "status"), "{{status}}"),)),
            Panel(
                "Success rate",
                "percentunit",
                (
                    (
                        f"{rate('requests_total', where=SUCCEEDED)} / {rate('requests_total', where=NOT_CANCELLED)}",
                        "succeeded",
                    ),
                ),
                "Of those that nobody cancelled.",
            ),
            Panel("Latency", "s", percentiles("requests_duration_seconds"), "From acceptance to outcome."),
            Panel("Queue depth", "short", (("cite_agent_queue_depth", "accepted, not yet running"),)),
            Panel(
                "Unfinished requests",
                "short",
                (("sum by (queue, state) (cite_agent_queue_requests)", "{{queue}} {{state}}"),),
            ),
            Panel(
                "Running and oldest waiting",
                "short",
                (
                    ("sum(cite_agent_requests_in_progress)", "running"),
                    ("cite_agent_oldest_waiting_seconds", "oldest waiting, in seconds"),
                ),
            ),
            Panel("Queue wait", "s", percentiles("queue_wait_seconds"), "From when an attempt was due to its claim."),
            Panel("Breakers", "short", (("cite_agent_circuit_breaker_state", "{{provider}}"),), "0 closed, 2 open."),
            Panel(
                "Refused",
                "reqps",
                (
                    (rate("queue_rejections_total"), "queue full"),
                    (rate("rate_limit_hits_total"), "user too fast"),
                ),
            ),
            Panel("Retries by reason", "reqps", ((rate("retry_attempts_total", "reason"), "{{reason}}"),)),
            Panel(
                "Retries that succeed",
                "percentunit",
                (
                    (
                        f"1 - ({rate('retry_attempts_total', where=AGAIN)} or vector(0))"
                        f" / {rate('retry_attempts_total')}",
                        "succeeded",
                    ),
                ),
            ),
            Panel("The ledger", "short", (("cite_agent_ledger_requests", "{{status}}"),), "Requests kept, by status."),
        ),
    ),
    Row(
        "User $user",
        (
            Panel("Request rate", "reqps", ((rate("requests_total", "status", USER), "{{status}}"),)),
            Panel("Latency", "s", percentiles("requests_duration_seconds", USER)),
            Panel(
                "Messages in Postgres and refusals",
                "short",
                (
                    (f"cite_agent_conversation_history_size{USER}", "messages"),
                    (rate("rate_limit_hits_total", where=USER), "refused a second"),
                ),
            ),
        ),
        repeat="user",
    ),
)

WORKERS = (
    Row(
        "Workers",
        (
            Panel("Workers", "short", (("cite_agent_workers", "{{state}}"),), "`lost` died in the last ten minutes."),
            Panel("Memory", "bytes", (("cite_agent_memory_usage_bytes", "{{instance}}"),)),
            Panel(
                "Memory growth",
                "Bps",
                (("deriv(cite_agent_memory_usage_bytes[10m])", "{{instance}}"),),
                "Bytes a second over ten minutes; what matters is what stays above nought for hours.",
            ),
            Panel("The pipeline's own part", "s", percentiles("overhead_seconds"), "Of an attempt, without the agent."),
            Panel(
                "Attempts per request",
                "short",
                (
                    (f"{rate('attempts_per_request_sum')} / {rate('attempts_per_request_count')}", "mean"),
                    (quantile(0.99, "attempts_per_request"), "p99"),
                ),
            ),
            Panel("How long retried attempts run", "s", percentiles("retry_duration_seconds")),
            Panel("Wait before a retry", "s", percentiles("retry_delay_seconds")),
            Panel("Put off", "reqps", ((rate("deferrals_total", "reason"), "{{reason}}"),)),
            Panel("Build", "short", (("sum by (version, python, celery) (cite_agent_build_info)", "{{version}}"),)),
        ),
    ),
    Row(
        "Delivery and rescue",
        (
            Panel("Celery tasks", "reqps", ((rate("celery_tasks_total", "name, state"), "{{name}} {{state}}"),)),
            Panel(
                "Deliveries dropped and claims lost",
                "reqps",
                (
                    (rate("duplicate_deliveries_total"), "delivered twice"),
                    (rate("lost_claims_total", "why"), "claim lost: {{why}}"),
                    (rate("lease_losses_total"), "heartbeat late"),
                ),
            ),
            Panel("Recovered", "reqps", ((rate("recovered_total", "why"), "{{why}}"),)),
            Panel(
                "Faults",
                "reqps",
                (
                    (rate("broker_faults_total", "operation"), "broker {{operation}}"),
                    (rate("ledger_faults_total", "operation"), "ledger {{operation}}"),
                    (rate("thread_faults_total", "thread"), "thread {{thread}}"),
                    (rate("queue_garbage_total", "queue"), "garbage in {{queue}}"),
                ),
            ),
            Panel("In the broker", "short", (("cite_agent_broker_queue_messages", "{{queue}}"),)),
            Panel(
                "Beat",
                "s",
                (
                    ("time() - cite_agent_beat_last_timestamp_seconds", "since it last sent something"),
                    ("cite_agent_beats", "beats"),
                ),
            ),
            Panel(
                "The exporter",
                "s",
                (
                    ("cite_agent_exporter_refresh_seconds", "{{source}} took"),
                    ("cite_agent_exporter_up", "{{source}} answers"),
                    (rate("exporter_faults_total", "source"), "{{source}} failed"),
                ),
            ),
            Panel("Scraped", "short", (('up{job=~"pipeline-.*"}', "{{job}} {{instance}}"),)),
        ),
    ),
)

PROVIDERS = (
    Row(
        "Calls",
        (
            Panel(
                "Calls", "reqps", ((rate("provider_requests_total", "provider, status"), "{{provider}} {{status}}"),)
            ),
            Panel("Latency", "s", ((quantile(0.95, "provider_latency_seconds", "provider"), "{{provider}} p95"),)),
            Panel(
                "Time to first token",
                "s",
                ((quantile(0.95, "provider_first_token_seconds", "provider"), "{{provider}} p95"),),
            ),
            Panel(
                "Errors",
                "reqps",
                ((rate("provider_errors_total", "provider, error_type"), "{{provider}} {{error_type}}"),),
            ),
            Panel(
                "Breakers",
                "short",
                (
                    ("cite_agent_circuit_breaker_state", "{{provider}}"),
                    ("cite_agent_circuit_breaker_model_state", "{{provider}} {{model}}"),
                ),
                "0 closed, 1 half-open, 2 open.",
            ),
            Panel("Breaker trips", "reqps", ((rate("circuit_breaker_trips_total", "provider"), "{{provider}}"),)),
        ),
    ),
    Row(
        "Cost",
        (
            Panel(
                "Tokens",
                "short",
                ((rate("provider_tokens_total", "provider, direction"), "{{provider}} {{direction}} a second"),),
            ),
            Panel("Money an hour", "short", ((f"3600 * {rate('provider_cost_total', 'provider')}", "{{provider}}"),)),
            Panel(
                "Share of tokens wasted",
                "percentunit",
                (
                    (
                        f"1 - {rate('provider_tokens_total', 'provider', USED)}"
                        f" / {rate('provider_tokens_total', 'provider')}",
                        "{{provider}}",
                    ),
                ),
                "Spent on attempts that did not answer their request.",
            ),
        ),
    ),
)

ARCHIVING = (
    Row(
        "Archiving",
        (
            Panel("Messages archived", "short", ((rate("session_archived_messages_total"), "a second"),)),
            Panel("Sessions archived", "short", ((rate("sessions_archived_total"), "a second"),)),
            Panel("Sessions due", "short", (("cite_agent_sessions_due", "sessions"),)),
            Panel("Lag", "s", (("cite_agent_archive_lag_seconds", "the first has been due for"),)),
            Panel("Messages in Postgres", "short", (("cite_agent_hot_messages", "messages"),)),
            Panel(
                "Messages in Postgres by user",
                "short",
                (("topk(10, cite_agent_conversation_history_size)", "{{user_id}}"),),
            ),
        ),
    ),
)
