"""A running pipeline in containers, and what a test does to it and asks of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_celery import CeleryTestSetup

from pipeline import Answer, Client, Handle, Settings
from pipeline.store import invariants
from pipeline.store.database import Database
from tests.docker.containers import Broker, Postgres, Simulator, Worker
from tests.servers import eventually

#: Settings that let a test see in seconds what takes a minute by default.
QUICK: dict[str, Any] = {
    "lease": 3.0,
    "heartbeat": 0.5,
    "recovery_interval": 0.5,
    "redelivery_grace": 1.0,
    "outcome_poll": 0.5,
    "broker_timeout": 1.0,
    "stop_timeout": 5.0,
    "worker_slots": 20,
}

HOLDERS = """
    SELECT w.name, r.id::text FROM requests r JOIN workers w ON w.id = r.worker_id WHERE r.status = 'running'
"""

WORKED = "SELECT w.name, a.request_id::text FROM attempts a JOIN workers w ON w.id = a.worker_id"

#: Each request with an answer, and how often that stands in the history.
ANSWERS = """
    SELECT r.id::text, count(m.number) FILTER (WHERE m.role = 'assistant') FROM requests r
    LEFT JOIN messages m ON m.request_id = r.id WHERE r.status = 'succeeded' GROUP BY r.id
"""


class Deployment:
    """`client` is on this machine, and reaches the containers at their published ports."""

    def __init__(
        self, setup: CeleryTestSetup, broker: Broker, postgres: Postgres, simulator: Simulator, settings: Settings
    ) -> None:
        self.broker = broker
        self.postgres = postgres
        self.simulator = simulator
        self.workers: list[Worker] = [node.container for node in setup.worker_cluster]
        self.client = Client(settings)
        self._network = setup.worker.container.attrs["NetworkSettings"]["Networks"]
        self._database = Database(settings.database)

    def submit(self, count: int, *, conversation: str = "thesis") -> list[Handle]:
        """As many requests, each of a user of its own."""
        return [
            self.client.submit(f"What did I cite? {number}", user_id=f"user{number}", conversation_id=conversation)
            for number in range(count)
        ]

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What the ledger says."""

        def read() -> list[tuple[Any, ...]]:
            with self._database.connection() as connection:
                return connection.execute(statement).fetchall()

        return self._database.patiently(read)  # its connections, too, break with the network

    def busy_worker(self) -> tuple[Worker, set[str]]:
        """A worker that runs requests now, and which."""
        name = eventually(lambda: self.rows(HOLDERS), 20, what="a request runs")[0][0]
        held = {request for holder, request in self.rows(HOLDERS) if holder == name}
        return next(worker for worker in self.workers if worker.node == name), held

    def answering(self, handles: list[Handle]) -> set[str]:
        """The workers that made the attempts at these requests."""
        ids = [handle.id for handle in handles]
        return {name for name, id_ in self.rows(WORKED) if id_ in ids}

    def running(self) -> int:
        return len(self.rows(HOLDERS))

    @contextmanager
    def cut_off(self, container: Any) -> Iterator[None]:
        """Take a container off the network, without a word to those it talked to; and put it back under its name."""
        network = self._its_network()
        network.disconnect(container.id)
        try:
            yield
        finally:
            network.connect(container.id, aliases=[container.attrs["Config"]["Hostname"]])

    def answered_once(self, handles: list[Handle], *, timeout: float = 60) -> list[Answer]:
        """Their answers. Asserts that the history holds each once, and that the invariants hold."""
        given = [handle.result(timeout=timeout) for handle in handles]
        assert all(answer.text for answer in given)
        answers = dict(self.rows(ANSWERS))
        assert answers == {handle.id: 1 for handle in handles}
        assert self._database.patiently(lambda: invariants.check(self._database)) == []
        return given

    def close(self) -> None:
        self.client.close()
        self._database.close()

    def _its_network(self) -> Any:
        (network,) = self._network.values()
        return self.broker._container.client.networks.get(network["NetworkID"])
