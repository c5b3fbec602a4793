"""The built image on real containers, while those are killed, frozen and cut off."""

from __future__ import annotations

import time

import pytest

from tests.docker.deployment import Deployment
from tests.servers import eventually

pytestmark = pytest.mark.docker

#: Seconds within which `submit` returns, whatever the broker does.
SUBMIT_LIMIT = 6.0


def test_a_request_is_answered_by_a_worker_container(deployment: Deployment) -> None:
    answers = deployment.answered_once(deployment.submit(4))
    assert {(answer.provider, answer.attempts) for answer in answers} == {("simulator", 1)}
    assert all(worker.is_healthy() for worker in deployment.workers)


def test_a_killed_worker_containers_requests_are_answered_by_the_other_one_once(deployment: Deployment) -> None:
    deployment.simulator.answer_after(4)
    handles = deployment.submit(8)
    eventually(lambda: deployment.running() == len(handles), 20, what="all of them run")
    victim, held = deployment.busy_worker()
    victim.kill()
    deployment.simulator.answer_after(0)
    deployment.answered_once(handles)
    lost = deployment.rows("SELECT request_id::text FROM attempts WHERE reason = 'worker_lost'")
    assert {request for (request,) in lost} == held
    survivor = next(worker for worker in deployment.workers if worker is not victim)
    assert survivor.is_healthy()


def test_submit_accepts_while_the_broker_is_paused_and_the_answers_come_when_it_goes_on(
    deployment: Deployment,
) -> None:
    deployment.simulator.answer_after(2)
    before = deployment.submit(3)
    eventually(deployment.running, 20, what="some of them run")
    deployment.broker.freeze()
    try:
        started = time.monotonic()
        handle = deployment.client.submit("Are you there?", user_id="ada", conversation_id="thesis")
        assert time.monotonic() - started < SUBMIT_LIMIT
        assert not handle.status().final
        eventually(lambda: all(other.status().final for other in before), 20, what="what runs needs no broker")
    finally:
        deployment.broker.thaw()
    deployment.answered_once([*before, handle])


def test_all_are_answered_after_the_broker_was_cut_off_and_is_back(deployment: Deployment) -> None:
    deployment.simulator.answer_after(2)
    before = deployment.submit(3)
    eventually(deployment.running, 20, what="some of them run")
    deployment.disconnect_broker()
    started = time.monotonic()
    handle = deployment.client.submit("Are you there?", user_id="ada", conversation_id="thesis")
    assert time.monotonic() - started < SUBMIT_LIMIT
    eventually(lambda: all(other.status().final for other in before), 20, what="what runs needs no broker")
    assert not handle.status().final
    deployment.connect_broker()
    deployment.answered_once([*before, handle])
