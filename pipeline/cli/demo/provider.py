"""The simulated provider's strings."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

from pipeline.errors import PipelineError

#: Seconds until the first word of an answer.
LATENCY = 0.4


class Provider:
    """Says how the simulator at `url` answers from now on."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc

    def play(self, *faults: str, words_per_second: float) -> None:
        """Meet the next calls with these faults, one each, and answer those after them at that pace."""
        latency = {"kind": "fixed", "seconds": LATENCY}
        behaviour = {"latency": latency, "tokens_per_second": words_per_second, "sequence": faults}
        connection = http.client.HTTPConnection(self._address, timeout=5)
        try:
            connection.request("POST", "/_simulator/behaviour", json.dumps(behaviour))
            status = connection.getresponse().status
        finally:
            connection.close()
        if status != http.client.OK:
            raise PipelineError(f"the simulator did not take its behaviour: status {status}")
