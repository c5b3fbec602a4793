"""What can be set, typed, read once from `CITE_AGENT_…` variables and `.env`, and loud when wrong."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from pipeline import consistency, stackfile
from pipeline.errors import ConfigurationError

#: Ten years: longer than anybody waits, and short enough for every clock.
SECONDS_MAX = 10 * 365 * 86_400

#: Days: longer than anything is to be kept.
CENTURY = 36_525

#: More attempts than anybody waits for.
ATTEMPTS_MAX = 100

#: Fits into what Postgres, the broker and JSON call a whole number.
COUNT_MAX = 2**31 - 1

Seconds = Annotated[float, Field(gt=0, le=SECONDS_MAX, allow_inf_nan=False)]
Hours = Annotated[float, Field(gt=0, le=CENTURY * 24, allow_inf_nan=False)]
Days = Annotated[float, Field(gt=0, le=CENTURY, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0, le=COUNT_MAX)]
AnyCount = Annotated[int, Field(ge=0, le=COUNT_MAX)]
Money = Annotated[float, Field(ge=0, allow_inf_nan=False)]
MoneyToSpend = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ProviderSettings(BaseModel):
    """One OpenAI-compatible endpoint."""

    model_config = {"extra": "forbid"}

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    base_url: str
    model: str
    api_key: SecretStr = SecretStr("none")
    input_price: Money = Field(0, description="money per million input tokens")
    output_price: Money = Field(0, description="money per million output tokens")
    weight: float = Field(1, gt=0, allow_inf_nan=False, description="share of the calls, where ROUTING is `weight`")
    region: str | None = Field(None, description="preferred by workers of the same REGION")
    max_context: Count | None = Field(None, description="tokens that the model can read")
    max_concurrency: Count | None = Field(None, description="calls at once, of the whole fleet")
    requests_per_minute: Count | None = Field(None, description="calls a minute, likewise")
    tokens_per_minute: Count | None = Field(None, description="tokens a minute, in and out, likewise")
    daily_budget: MoneyToSpend | None = Field(None, description="money a UTC day, likewise")


class Settings(BaseSettings):
    """All settings of a pipeline. The table in the README is made from this class."""

    model_config = SettingsConfigDict(
        env_prefix="CITE_AGENT_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: SecretStr | None = Field(
        None, description="Postgres 15 or newer; when unset, the running `pipeline up` is found by its state file"
    )
    broker_url: SecretStr | None = Field(
        None, description="Redis 7 or Valkey 8 or newer (`redis://`, `rediss://`, `unix://`); as above when unset"
    )
    database_pool_size: Count = Field(8, description="most connections of one process to Postgres; at least 2")

    providers: list[ProviderSettings] = Field(
        default_factory=list,
        description='JSON list of `{"name", "base_url", "model", "api_key", "input_price", "output_price"}`; '
        "limits and weights of each: docs/limits.md",
    )
    agents: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="import paths of modules with `@agent` functions, comma-separated"
    )

    max_messages_in_memory: Count = Field(50, description="most messages a worker loads for one request")
    max_context_bytes: int = Field(
        4 * 1024 * 1024,
        ge=1024,
        description="bytes; most of them that a worker loads for one request, the newest first",
    )

    cold_storage_url: str = Field(
        "~/.cite_agent/session_archives/",
        description="where archives are kept: a folder, or `s3://bucket/path`, `gs://…`, `az://account/container/path`",
    )
    archive_threshold: Count = Field(100, description="hot messages; a session with more is archived by the sweep")
    archive_hours: Hours = Field(
        1.0, description="hours; a session is archived by the sweep when its oldest hot message is older"
    )
    recent_context_window: Count = Field(
        10, description="messages that stay hot after archiving, or some more to keep turns whole"
    )
    archive_compression: Literal["zstd", "none"] = Field("zstd", description="`none` writes plain `.json`")
    session_idle_days: Days = Field(30, description="days without a message after which all is archived")
    restore_grace_hours: Hours = Field(24, description="hours for which restored messages stay hot")
    sweep_interval: Seconds = Field(60, description="seconds between two looks for sessions to archive")
    summary_by: Literal["provider", "extractive"] = Field(
        "provider", description="who sums up what was archived; `extractive` needs no provider, and serves without one"
    )
    summary_timeout: Seconds = Field(20, description="seconds for a summary by a provider")

    retention_days: Days = Field(
        30, description="days for which requests that have ended are kept, with their attempts and calls"
    )
    archive_retention_days: Days | None = Field(
        None, description="days for which archives are kept, from their writing; for ever when unset"
    )
    upkeep_interval: Seconds = Field(
        60, description="seconds between two looks for what is to be erased, or has been kept long enough"
    )

    max_retry_attempts: int = Field(3, ge=1, le=ATTEMPTS_MAX, description="attempts in all")
    retry_initial_delay: Count = Field(1, description="seconds before the second attempt, doubled for each further one")
    retry_max_delay: Count = Field(30, description="seconds; cap of the delay")
    retry_jitter: bool = Field(default=True, description="draw each delay from 0 up to its full value")
    retry_status_codes: Annotated[frozenset[int], NoDecode] = Field(
        frozenset({429, 500, 502, 503, 504}), description="HTTP status codes that are retried"
    )

    provider_connect_timeout: Seconds = Field(5, description="seconds to connect to a provider")
    provider_first_token_timeout: Seconds = Field(30, description="seconds from sending a call to its first token")
    provider_timeout: Seconds = Field(60, description="seconds for a call, 1.5 times as long on each retry")
    provider_timeout_max: Seconds = Field(90, description="seconds; cap of the above")
    routing: Literal["order", "weight", "latency", "cost"] = Field(
        "order", description="which provider is asked first; the others stand in for it"
    )
    region: str | None = Field(None, description="region of this worker: providers of the same one go first")
    breaker_failure_rate: float = Field(0.5, gt=0, le=1, description="share of failed calls that opens a breaker")
    breaker_min_calls: Count = Field(10, description="calls within the window before that share counts")
    breaker_window: Seconds = Field(60, description="seconds that a breaker looks back")
    breaker_open_seconds: Seconds = Field(30, description="seconds from a breaker's opening to its trial calls")
    breaker_half_open_calls: Count = Field(3, description="trial calls, all of which must succeed")
    breaker_ramp_seconds: Seconds = Field(
        10, description="seconds after closing until all calls are let through again, from a tenth on"
    )
    run_timeout: Seconds = Field(300, description="seconds for one attempt")
    deadline: Seconds = Field(3600, description="seconds for a request that names none")

    lease: Seconds = Field(12, description="seconds after its last sign of life that a worker counts as dead")
    heartbeat: Seconds = Field(3, description="seconds between a worker's signs of life; a third of LEASE at most")
    recovery_interval: Seconds = Field(3, description="seconds between two looks for what needs recovery")
    redelivery_grace: Seconds = Field(
        5, description="seconds after publishing before a message may be presumed lost by the broker"
    )
    ageing: Seconds = Field(60, description="seconds of waiting for each of which a request counts one class higher")
    countdown_max: Seconds = Field(
        60, description="seconds; a longer wait before a retry stays in the ledger, without a Celery countdown"
    )
    user_concurrency: Count = Field(3, description="requests of one user published or running at once")

    queue_limit: Count = Field(
        20000, description="requests that may wait for a worker: a warning from 70 % of it, refusal from 95 %"
    )
    user_rate: Annotated[str, AfterValidator(consistency.checked_rate)] = Field(
        "600/minute", description="requests that one user may submit: a number per `second`, `minute`, `hour` or `day`"
    )

    broker_timeout: Seconds = Field(2, description="seconds for one answer of the broker")
    outcome_poll: Seconds = Field(
        2, description="seconds between looks into Postgres for outcomes whose notice was lost"
    )
    stream_seconds: Count = Field(600, description="seconds that streamed text is kept in the broker")

    worker_slots: Count = Field(100, description="requests that one worker process runs at once")
    stop_timeout: Seconds = Field(
        30, description="seconds that a stopping worker gives what it runs; the rest is left to the lease"
    )
    metrics_host: str = Field("127.0.0.1", description="address on which each worker and the exporter serve `/metrics`")
    metrics_port: int = Field(0, ge=0, le=65535, description="its port; a free one, told in the log, when 0")
    metrics_max_users: AnyCount = Field(
        100, description="users of the whole fleet who have a label of their own in metrics; the rest are `other`"
    )

    log_format: Literal["json", "console"] = Field("console", description="`console` for people, `json` for machines")
    tracing: bool = Field(
        default=False, description="traces by OpenTelemetry (the extra `otel`); its own `OTEL_…` variables say where to"
    )

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: dict[str, object]) -> dict[str, object]:
        for name in ("agents", "retry_status_codes"):
            if isinstance(given := values.get(name), str):
                values[name] = [part.strip() for part in given.strip("[]").split(",") if part.strip()]
        return values

    @model_validator(mode="after")
    def _are_consistent(self) -> Self:
        consistency.check(self)
        return self

    @property
    def database(self) -> str:
        """The URL of Postgres: as set, or that of the running stack. Raises ConfigurationError without either."""
        return self._found("database_url", self.database_url)

    @property
    def broker(self) -> str:
        """The URL of the broker, likewise."""
        return self._found("broker_url", self.broker_url)

    @property
    def given_cold_storage(self) -> str | None:
        """Where archives are kept, if that was set."""
        return self.cold_storage_url if "cold_storage_url" in self.model_fields_set else None

    @property
    def cold_storage(self) -> str:
        """Where archives are kept: as set, or where the running stack keeps them, or in the home."""
        stack = stackfile.read() if self.database_url is None else None
        return self.given_cold_storage or (stack and stack.cold_storage_url) or self.cold_storage_url

    @property
    def configured_providers(self) -> list[ProviderSettings]:
        """Those that are set, or the running stack's simulator."""
        if self.providers:
            return self.providers
        stack = stackfile.read()
        if stack is None or stack.simulator_url is None:
            return []
        return [ProviderSettings(name="simulator", base_url=stack.simulator_url, model="simulated")]

    def _found(self, name: str, given: SecretStr | None) -> str:
        if given is not None:
            return given.get_secret_value()
        stack = stackfile.read()
        if stack is None:
            raise ConfigurationError(
                f"No running stack was found ({stackfile.path()}) and CITE_AGENT_{name.upper()} is not set. "
                "Start one with `pipeline up`, or set CITE_AGENT_DATABASE_URL and CITE_AGENT_BROKER_URL."
            )
        return str(getattr(stack, name))


@lru_cache(maxsize=1)
def current() -> Settings:
    """This process's settings, read once. Raises ConfigurationError that names each wrong variable."""
    try:
        return Settings()
    except ValidationError as wrong:
        lines = [_explain(error["loc"], error["msg"]) for error in wrong.errors(include_input=False, include_url=False)]
        raise ConfigurationError("The settings are wrong:\n  " + "\n  ".join(lines)) from None
    except SettingsError as wrong:
        # Not chained: what could not be parsed may hold a secret.
        field = str(wrong).partition('field "')[2].partition('"')[0]
        raise ConfigurationError(f"The settings are wrong:\n  CITE_AGENT_{field.upper()}: is not JSON") from None


def _explain(location: tuple[int | str, ...], message: str) -> str:
    name = "_".join(str(part) for part in location).upper()
    message = message.removeprefix("Value error, ")
    return f"CITE_AGENT_{name}: {message}" if name else message
