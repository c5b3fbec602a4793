from __future__ import annotations

import logging
import socket
import time
import traceback

import pytest

from pipeline.providers.contract import CallRequest
from pipeline.providers.simulator import Fault, Simulator
from pipeline.schemas import Call, Message
from pipeline.worker.held import Control
from tests.providers.conftest import SECRET, Caller, ConnectTo

REASONS = [
    ("429", "http_429", 429),
    ("500", "http_500", 500),
    ("502", "http_502", 502),
    ("503", "http_503", 503),
    ("504", "http_504", 504),
    ("400", "http_4xx", 400),
    ("401", "http_4xx", 401),
    ("context_too_long", "context_too_long", 400),
    ("rate_limit", "rate_limit", 503),
    ("budget", "budget", 429),
    ("reset", "connection_error", None),
    ("cut", "bad_response", 200),
    ("cut_reset", "bad_response", 200),
    ("unfinished", "bad_response", 200),
    ("empty", "bad_response", 200),
    ("malformed", "bad_response", 200),
    ("error_event", "bad_response", 200),
]


@pytest.mark.parametrize(("fault", "reason", "status_code"), REASONS)
def test_each_fault_has_its_reason_and_leaves_one_record(
    simulator: Simulator, caller: Caller, fault: str, reason: str, status_code: int | None
) -> None:
    simulator.script(fault)
    error = caller.failure()
    assert (error.reason, error.provider) == (reason, "some")
    (call,) = caller.calls
    assert (call.reason, call.status_code) == (reason, status_code)
    assert call.started_at <= call.finished_at
    assert simulator.counts.arrived == 1, "nothing but the pipeline may retry"
    caller.call()
    assert caller.calls[-1].reason is None, "the next call is none the worse for it"


@pytest.mark.parametrize("fault", [fault for fault, _, _ in REASONS])
def test_neither_errors_nor_logs_hold_what_user_or_provider_said(
    simulator: Simulator, caller: Caller, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    caplog.set_level(logging.DEBUG)
    simulator.script(fault)
    error = caller.failure()
    told = "".join(traceback.format_exception(error)) + caplog.text
    assert SECRET not in told
    assert "[simulated]" not in told
    assert error.__context__ is None


@pytest.mark.parametrize("form", ["seconds", "date", "ms"])
@pytest.mark.parametrize("kind", ["429", "503"])
def test_retry_after_is_understood_in_each_form(simulator: Simulator, caller: Caller, kind: str, form: str) -> None:
    simulator.script(Fault.model_validate({"kind": kind, "retry_after": 7, "form": form}))
    assert caller.failure().retry_after == 7


def test_without_retry_after_none_is_asked(simulator: Simulator, caller: Caller) -> None:
    simulator.script("429")
    assert caller.failure().retry_after is None


def test_a_refused_connection_is_a_connection_error(connect_to: ConnectTo) -> None:
    with socket.socket() as bound_but_not_listening:
        bound_but_not_listening.bind(("127.0.0.1", 0))
        port = bound_but_not_listening.getsockname()[1]
        assert connect_to(f"http://127.0.0.1:{port}/v1").failure().reason == "connection_error"


def test_a_name_without_an_address_is_a_connection_error(connect_to: ConnectTo) -> None:
    assert connect_to("http://no-such-host.invalid/v1").failure().reason == "connection_error"


class OutOfDiskError(Exception):
    pass


def test_what_on_text_raises_passes_through_and_the_call_is_recorded(caller: Caller) -> None:
    def refuse(_: str) -> None:
        raise OutOfDiskError

    calls: list[Call] = []
    with pytest.raises(OutOfDiskError):
        caller.provider.call(
            CallRequest([Message("user", SECRET)]),
            on_text=refuse,
            on_call=calls.append,
            control=Control(time.monotonic() + 30),
        )
    assert [call.reason for call in calls] == ["interrupted"]
