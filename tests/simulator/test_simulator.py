from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from pipeline.errors import ConfigurationError
from pipeline.providers.simulator import Fault, Fixed, Simulator
from pipeline.providers.simulator.replies import REFUSALS
from tests.servers import eventually

CHAT = "/v1/chat/completions"


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def wait_for_outcome(simulator: Simulator, outcome: str) -> None:
    limit = time.monotonic() + 30
    while outcome not in simulator.counts.outcomes:
        assert time.monotonic() < limit, simulator.counts
        time.sleep(0.01)


def test_an_answer_says_that_it_is_simulated_and_is_the_same_each_time(http: httpx2.Client) -> None:
    answers = [http.post(CHAT, json=said("hello")).json() for _ in range(2)]
    texts = [answer["choices"][0]["message"]["content"] for answer in answers]
    assert texts[0] == texts[1]
    assert texts[0].startswith("[simulated]")
    assert "hello" in texts[0]
    assert answers[0]["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("kind", sorted(REFUSALS))
def test_a_refusal_says_that_it_is_simulated_too(simulator: Simulator, http: httpx2.Client, kind: str) -> None:
    simulator.script(kind)
    refused = http.post(CHAT, json=said("hello"))
    assert refused.status_code >= 400
    assert refused.json()["error"]["message"].startswith("[simulated]")


def test_an_answer_tells_the_turn_and_what_was_seen_before(http: httpx2.Client) -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": [{"type": "text", "text": "two"}]},
    ]
    text = http.post(CHAT, json={"messages": messages}).json()["choices"][0]["message"]["content"]
    assert "two" in text
    assert "turn 2" in text
    assert "2 earlier messages" in text


def test_models_and_health_are_served(http: httpx2.Client) -> None:
    assert http.get("/v1/models").json()["data"][0]["id"] == "simulated"
    assert http.get("/health").json()["status"] == "ok"


def test_a_stream_ends_with_usage_and_done(http: httpx2.Client) -> None:
    asked = said("hello", stream=True, stream_options={"include_usage": True})
    events = http.post(CHAT, json=asked).text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert '"usage"' in events[-2]


def test_faults_come_in_sequence_and_then_all_is_well(simulator: Simulator, http: httpx2.Client) -> None:
    simulator.script("503", Fault(kind="429", retry_after=3), "ok", "500")
    responses = [http.post(CHAT, json=said("hello")) for _ in range(5)]
    assert [response.status_code for response in responses] == [503, 429, 200, 500, 200]
    assert responses[1].headers["retry-after"] == "3"
    counted = {"503": 1, "429": 1, "ok": 2, "500": 1}
    eventually(lambda: simulator.counts.outcomes == counted, what="it counts once it has answered")


def test_one_seed_gives_one_run_of_faults(simulator: Simulator, http: httpx2.Client) -> None:
    def run(seed: int) -> list[int]:
        simulator.script(seed=seed, rates=[Fault(kind="500", rate=0.3), Fault(kind="429", rate=0.3)])
        return [http.post(CHAT, json=said("hello")).status_code for _ in range(30)]

    assert run(7) == run(7) != run(8)
    assert set(run(7)) == {200, 429, 500}


def test_behaviour_and_counts_are_controlled_over_http(http: httpx2.Client) -> None:
    script = {
        "sequence": ["503", {"kind": "429", "retry_after": 1}],
        "latency": {"kind": "uniform", "low": 0, "high": 0},
    }
    assert http.post("/_simulator/behaviour", json=script).status_code == 200
    http.post(CHAT, json=said("hello"), headers={"X-Client-Request-Id": "r1"})
    ahead = http.get("/_simulator/behaviour").json()
    assert [fault["kind"] for fault in ahead["sequence"]] == ["429"]
    counts = http.get("/_simulator/counts").json()
    assert (counts["arrived"], counts["outcomes"], counts["requests"]) == (1, {"503": 1}, {"r1": 1})
    assert [outcome for _, outcome in counts["log"]] == ["503"]
    assert http.delete("/_simulator/behaviour").json()["sequence"] == []
    assert http.delete("/_simulator/counts").json()["arrived"] == 0


@pytest.mark.parametrize(
    "wrong", [{"sequence": ["no such fault"]}, {"latency": {"kind": "fixed", "seconds": -1}}, {"unheard": 1}]
)
def test_wrong_behaviour_is_refused_and_changes_nothing(http: httpx2.Client, wrong: dict[str, Any]) -> None:
    before = http.get("/_simulator/behaviour").json()
    refused = http.post("/_simulator/behaviour", json=wrong)
    assert refused.status_code == 422
    assert refused.json()["errors"]
    assert http.get("/_simulator/behaviour").json() == before


def test_what_is_not_a_chat_request_is_refused_without_using_up_a_fault(
    simulator: Simulator, http: httpx2.Client
) -> None:
    simulator.script("503")
    for body in (b"{", b"[]", b"{}", b'{"messages": 1}'):
        assert http.post(CHAT, content=body).status_code == 400
    assert http.post(CHAT, json=said("hello")).status_code == 503


def test_how_often_one_text_arrived_is_told_without_keeping_it(simulator: Simulator, http: httpx2.Client) -> None:
    for text in ("one", "two", "one"):
        http.post(CHAT, json=said(text))
    assert (simulator.counts.of_text("one"), simulator.counts.of_text("two"), simulator.counts.of_text("x")) == (
        2,
        1,
        0,
    )
    assert "one" not in simulator.counts.texts


def test_a_caller_that_goes_away_is_counted_as_such(simulator: Simulator, http: httpx2.Client) -> None:
    simulator.script("hang", tokens_per_second=5)
    for _ in range(2):
        with pytest.raises(httpx2.ReadTimeout):
            http.post(CHAT, json=said("hello", stream=True), timeout=httpx2.Timeout(5, read=0.1))
    wait_for_outcome(simulator, "disconnected")


def test_a_call_that_began_before_the_counts_were_reset_is_not_in_them(
    simulator: Simulator, http: httpx2.Client
) -> None:
    simulator.script(latency=Fixed(seconds=0.5))
    with ThreadPoolExecutor(1) as thread:
        early = thread.submit(http.post, CHAT, json=said("early"))
        eventually(lambda: simulator.counts.in_flight == 1, 10, what="it has arrived")
        simulator.reset_counts()
        assert early.result().status_code == 200
    http.post(CHAT, json=said("late"))
    eventually(lambda: simulator.counts.outcomes == {"ok": 1}, 10, what="the later one is counted alone")
    assert (simulator.counts.arrived, simulator.counts.in_flight) == (1, 0)


@pytest.mark.parametrize(("fault", "error"), [("reset", httpx2.ReadError), ("cut", httpx2.RemoteProtocolError)])
@pytest.mark.parametrize("stream", [True, False])
def test_connections_are_really_broken(
    simulator: Simulator, http: httpx2.Client, fault: str, error: type[Exception], *, stream: bool
) -> None:
    simulator.script(fault)
    with pytest.raises(error):
        http.post(CHAT, json=said("hello", stream=stream))
    wait_for_outcome(simulator, fault)


def test_malformed_json_is_malformed(simulator: Simulator, http: httpx2.Client) -> None:
    simulator.script("malformed")
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        http.post(CHAT, json=said("hello")).json()


def test_latency_passes_before_the_answer_and_many_wait_at_once(simulator: Simulator) -> None:
    simulator.script(latency=Fixed(seconds=0.3))
    began = time.monotonic()
    with ThreadPoolExecutor(20) as threads, httpx2.Client(base_url=simulator.origin) as http:
        list(threads.map(lambda n: http.post(CHAT, json=said(str(n))), range(20)))
    assert 0.3 <= time.monotonic() - began < 3
    assert simulator.counts.most_in_flight > 10


def test_a_port_that_is_taken_is_told(simulator: Simulator) -> None:
    with pytest.raises(ConfigurationError, match=str(simulator.port)):
        Simulator(port=simulator.port)
