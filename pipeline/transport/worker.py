"""Celery's consumer, for a transport whose acknowledgements are a note in memory. Named as `worker_consumer`."""

from __future__ import annotations

import logging
import warnings
from time import sleep
from typing import Any

from celery import bootsteps
from celery.exceptions import CPendingDeprecationWarning, ImproperlyConfigured
from celery.worker import consumer, heartbeat, state
from celery.worker.consumer.events import Events
from celery.worker.consumer.heart import Heart
from celery.worker.consumer.tasks import Tasks
from kombu.exceptions import KombuError

from pipeline.transport import garbage, wire

logger = logging.getLogger(__name__)

#: Seconds between two rounds of task events.
EVENTS_EVERY = 0.2

#: Seconds before the second, third … try to reach the broker: 0.2, 0.5, 0.8 … 2.
RECONNECT = {"interval_start": 0.2, "interval_step": 0.3, "interval_max": 2.0}

#: Seconds before a broker that refuses a command is asked again.
REFUSED_FOR = 1.0


class Credit(bootsteps.StartStopStep):  # type: ignore[misc]  # celery ships no types
    """Lets the consumer take what the pool can start, and so many messages that wait for their time."""

    requires = (Tasks,)

    def start(self, parent: Any) -> None:
        free_slots = getattr(parent.pool, "free_slots", None)
        if free_slots is None:
            raise ImproperlyConfigured("this worker needs its own pool, pipeline.pool:TaskPool: leave out -P/--pool")
        qos = parent.task_consumer.channel.qos
        qos.free_slots = free_slots
        qos.held_limit = parent.app.conf.worker_eta_task_limit


class Heartbeat(heartbeat.Heart):  # type: ignore[misc]  # celery ships no types
    """Celery's tries to send each heartbeat for ever, and in the event loop: a frozen broker would stop all else."""

    def _send(self, event: str, retry: bool = False) -> Any:  # noqa: ARG002, FBT001, FBT002  # celery's signature
        return super()._send(event, retry=False)


class PatientHeart(Heart):  # type: ignore[misc]  # celery ships no types
    """Celery's step for the above."""

    def start(self, c: Any) -> None:
        c.heart = Heartbeat(c.timer, c.event_dispatcher, self.heartbeat_interval)
        c.heart.start()


class EventFlush(bootsteps.StartStopStep):  # type: ignore[misc]  # celery ships no types
    """Sends task events together, a few times a second. Celery sends each at once when there is little to do, which
    at ten requests at a time was a third of a worker's work."""

    requires = (Events,)

    def start(self, parent: Any) -> None:
        self._timer = parent.hub.call_repeatedly(EVENTS_EVERY, parent.send_events_now)

    def stop(self, parent: Any) -> None:
        self._timer.cancel()
        parent.send_events_now()


_CELERYS_HEART = "celery.worker.consumer.heart:Heart"


class Consumer(consumer.Consumer):  # type: ignore[misc]  # celery ships no types
    """Comes back within two seconds of the broker, and outlives whatever it finds in a queue.

    Workers do not greet each other (mingle, a second at each connect) nor follow each other's events (gossip):
    what they would share, the ledger knows.
    """

    class Blueprint(consumer.Consumer.Blueprint):  # type: ignore[misc]  # celery ships no types
        default_steps = (
            *(step for step in consumer.Consumer.Blueprint.default_steps if step != _CELERYS_HEART),
            PatientHeart,
            Credit,
            EventFlush,
        )

    def __init__(self, *args: Any, worker_options: dict[str, Any] | None = None, **kwargs: Any) -> None:
        options = {**(worker_options or {}), "without_mingle": True, "without_gossip": True}
        super().__init__(*args, worker_options=options, **kwargs)

    def on_send_event_buffered(self) -> None:
        """Nothing: they are sent by the clock."""

    def send_events_now(self) -> None:
        """Send the task events that wait."""
        self._flush_events()

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, and try for ever."""

        def report(error: Exception, interval: float) -> None:
            logger.error("cannot reach the broker %s: %s; again in %.1f s", conn.as_uri(), error, interval)

        conn.ensure_connection(report, None, callback=state.maybe_shutdown, **RECONNECT)
        self.first_connection_attempt = False
        return conn

    def call_soon_ack(self, p: Any, *args: Any, **kwargs: Any) -> None:
        # An acknowledgement is one entry in a set: no need to wake the event loop for it, nor to wait for its turn.
        p(*args, **kwargs)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        # The old channel gives back what it holds unacknowledged. What the pool was given is not to be among it.
        for request in tuple(state.requests.values()):
            if request not in state.scheduled_requests:
                request.acknowledge()
        with warnings.catch_warnings():
            # Celery warns that it does not cancel what runs unacknowledged; nothing here does.
            warnings.simplefilter("ignore", CPendingDeprecationWarning)
            super().on_connection_error_after_connected(exc)
        if isinstance(exc, self.channel_errors):
            # Connecting again succeeds at once, and the next command is refused again.
            logger.error("the broker refuses (%s); again in %.1f s", exc, REFUSED_FOR)
            sleep(REFUSED_FOR)

    def on_close(self) -> None:
        try:
            super().on_close()
        except RuntimeError:
            # It walks over sets from which the pool's threads remove what they finish. It can be walked again.
            super().on_close()

    def create_task_handler(self, *args: Any) -> Any:
        handle = super().create_task_handler(*args)

        def on_task_received(message: Any) -> None:
            if why := _flaw(message):
                self._drop(message, why)
                return
            try:
                handle(message)
            except (AttributeError, LookupError, TypeError, ValueError) as wrong:
                # Headers are read all over Celery, and any of them may be of a wrong type.
                self._drop(message, f"headers that Celery cannot read ({type(wrong).__name__})")

        return on_task_received

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._drop(message, f"a body that cannot be decoded ({type(exc).__name__})")

    def on_unknown_message(self, _body: Any, message: Any) -> None:
        self._drop(message, "not a task message")

    def on_unknown_task(self, _body: Any, message: Any, _exc: Exception) -> None:
        self._drop(message, "an unknown task")

    def on_invalid_task(self, _body: Any, message: Any, exc: Exception) -> None:
        self._drop(message, f"an invalid task ({type(exc).__name__})")

    def _drop(self, message: Any, why: str) -> None:
        message.ack_log_error(logger, self.connection_errors)
        garbage.report(str(message.delivery_info.get("routing_key")), why)


def _flaw(message: Any) -> str | None:
    """Why Celery could not run `message`, or None."""
    if not isinstance(message.headers.get("task"), str) or not isinstance(message.headers.get("id"), str):
        return "not a task message"
    try:
        body = message.payload
    except KombuError as wrong:
        return f"a body that cannot be decoded ({type(wrong).__name__})"
    return None if wire.is_task_body(body) else "a body that is not a task's"
