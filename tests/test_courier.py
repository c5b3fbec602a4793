"""The courier, where the broker does not take what it carries."""

from __future__ import annotations

from pathlib import Path

from pipeline import broker, metrics
from pipeline.courier import Courier
from pipeline.errors import BrokerUnavailable
from pipeline.settings import Settings
from tests.servers import eventually


def test_who_comes_after_a_fault_does_not_wait_for_the_broker_too_until_a_moment_has_passed(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/nobody.sock"
    client = broker.connect(url, 1.0)
    courier = Courier(Settings(database_url="postgresql:///none", broker_url=url), client)
    counted = metrics.BROKER_FAULTS.labels("publish")
    before, asked = counted._value.get(), []

    def ask() -> bool:
        asked.append(1)
        if len(asked) == 1:
            raise BrokerUnavailable
        return True

    assert courier.attempt("publish", ask) is None
    assert courier.attempt("publish", ask) is None
    assert (len(asked), counted._value.get()) == (1, before + 2), "what is not sent is counted all the same"
    eventually(lambda: courier.attempt("publish", ask), 20, what="it is asked again")
    courier.close()
    client.close()
