"""What a provider is sent. The simulator answers whatever it is asked, so these ask a server that takes notes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from email.message import Message as Headers
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from pipeline.providers.openai_compatible import OpenAICompatible
from pipeline.schemas import Message
from pipeline.settings import ProviderSettings, Settings
from tests.providers.conftest import Caller, ConnectTo
from tests.providers.test_replies import TOOL

ANSWER = b'data: {"choices": [{"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


#: What the SDK would read of the environment by itself.
OF_THE_ENVIRONMENT = "of-the-environment"


class Notes:
    """A provider that says yes to everything, and keeps what it was sent: headers and body of each call."""

    def __init__(self) -> None:
        self.headers: list[Headers] = []
        self.bodies: list[dict[str, Any]] = []
        notes = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                notes.headers.append(self.headers)
                notes.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                self.wfile.write(ANSWER)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def notes() -> Iterator[Notes]:
    notes = Notes()
    serving = threading.Thread(target=notes.server.serve_forever, args=(0.01,))
    serving.start()
    yield notes
    notes.server.shutdown()
    serving.join()
    notes.server.server_close()


def test_options_go_to_the_provider_as_they_are_but_do_not_change_what_is_the_pipelines(
    notes: Notes, connect_to: ConnectTo
) -> None:
    options = {"temperature": 0.5, "unheard_of": {"by": "the SDK"}, "stream": False, "model": "another"}
    assert connect_to(notes.url).call(options=options, tools=[TOOL]).reply.text == "Yes."
    (body,) = notes.bodies
    assert (body["temperature"], body["unheard_of"]) == (0.5, {"by": "the SDK"})
    assert (body["stream"], body["model"]) == (True, "a-model")
    assert body["tools"] == [TOOL]


def test_without_tools_none_are_offered(notes: Notes, connect_to: ConnectTo) -> None:
    connect_to(notes.url).call()
    assert "tools" not in notes.bodies[0]  # an empty list is refused by some


def test_a_tools_call_and_its_result_are_sent_with_what_ties_them_together(notes: Notes, connect_to: ConnectTo) -> None:
    asked = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    history = [
        Message("system", "be brief"),
        Message("user", "look it up"),
        Message("assistant", "", tool_calls=(asked,)),
        Message("tool", "found", tool_call_id="call_1"),
    ]
    connect_to(notes.url).call(messages=history)
    assert notes.bodies[0]["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "look it up"},
        {"role": "assistant", "content": None, "tool_calls": [asked]},
        {"role": "tool", "content": "found", "tool_call_id": "call_1"},
    ]


@pytest.mark.parametrize(("key", "sent"), [("sk-its-own", "Bearer sk-its-own"), ("", None)], ids=["a key", "none"])
def test_a_provider_is_sent_its_own_key_and_nothing_that_the_environment_has_for_another(
    notes: Notes, monkeypatch: pytest.MonkeyPatch, key: str, sent: str | None
) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", OF_THE_ENVIRONMENT)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"authorization: Bearer {OF_THE_ENVIRONMENT}")
    config = ProviderSettings(name="some", base_url=notes.url, model="m", api_key=SecretStr(key))
    provider = OpenAICompatible(config, Settings())
    Caller(provider).call()
    provider.close()
    assert notes.headers[0]["authorization"] == sent
    assert OF_THE_ENVIRONMENT not in str(notes.headers[0])
