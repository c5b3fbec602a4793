"""`python -m pipeline.providers.simulator --port 8001 --behaviour '{"sequence": ["503", "ok"]}'`."""

from __future__ import annotations

import argparse
import sys

from pydantic import ValidationError

from pipeline.errors import ConfigurationError
from pipeline.providers.simulator import Behaviour, serve


def main() -> int:
    """Returns the exit code: 0 after a signal, 2 for wrong arguments."""
    parser = argparse.ArgumentParser("simulator", description="An OpenAI-compatible server that simulates a model.")
    parser.add_argument("--port", type=int, default=0, help="loopback port; a free one when 0")
    parser.add_argument("--seed", type=int, default=None, help="of latencies, faults and answers")
    parser.add_argument("--behaviour", default="{}", help="JSON, as POST /_simulator/behaviour takes it")
    given = parser.parse_args()
    try:
        behaviour = Behaviour.model_validate_json(given.behaviour)
    except ValidationError as wrong:
        parser.error(f"--behaviour: {wrong}")
    if given.seed is not None:
        behaviour = behaviour.model_copy(update={"seed": given.seed})
    try:
        serve(behaviour, port=given.port, announce=_say)
    except ConfigurationError as wrong:
        parser.error(str(wrong))
    except KeyboardInterrupt:
        pass
    return 0


def _say(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
