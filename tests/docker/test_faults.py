"""The built image on real containers, while those are killed, frozen and cut off."""

from __future__ import annotations

import time

import pytest

from pipeline.errors import LedgerUnavailable
from tests.docker.deployment import QUICK, Deployment
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
    with deployment.cut_off(deployment.broker):
        started = time.monotonic()
        handle = deployment.client.submit("Are you there?", user_id="ada", conversation_id="thesis")
        assert time.monotonic() - started < SUBMIT_LIMIT
        eventually(lambda: all(other.status().final for other in before), 20, what="what runs needs no broker")
        assert not handle.status().final
    deployment.answered_once([*before, handle])


def test_a_worker_cut_off_past_its_lease_loses_its_requests_to_the_other_one_and_works_on_when_it_is_back(
    deployment: Deployment,
) -> None:
    deployment.simulator.answer_after(4)
    handles = deployment.submit(8)
    eventually(lambda: deployment.running() == len(handles), 20, what="all of them run")
    victim, held = deployment.busy_worker()
    with deployment.cut_off(victim):
        deployment.answered_once(handles)
        lost = deployment.rows("SELECT request_id::text FROM attempts WHERE reason = 'worker_lost'")
        assert {request for (request,) in lost} == held
    deployment.simulator.answer_after(0)

    def both_answer() -> bool:
        handles.extend(more := deployment.submit(4, conversation="after"))
        for handle in more:
            handle.result(60)
        return victim.node in deployment.answering(more)

    eventually(both_answer, 60, what="the worker that was away answers again")
    deployment.answered_once(handles)
    assert all(worker.is_healthy() for worker in deployment.workers)


def test_all_are_answered_once_after_postgres_was_cut_off_for_longer_than_a_lease(deployment: Deployment) -> None:
    deployment.simulator.answer_after(2)
    handles = deployment.submit(6)
    eventually(lambda: deployment.running() == len(handles), 20, what="all of them run")
    with deployment.cut_off(deployment.postgres):
        with pytest.raises(LedgerUnavailable):
            deployment.client.submit("Are you there?", user_id="ada", conversation_id="thesis")
        time.sleep(QUICK["lease"] * 2)  # the fault's own duration
    deployment.answered_once(handles)
    handles += deployment.submit(4, conversation="after")
    deployment.answered_once(handles)
    eventually(lambda: all(worker.is_healthy() for worker in deployment.workers), 60, what="both workers are healthy")
