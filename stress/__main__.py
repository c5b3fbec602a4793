"""`python -m stress`."""

from __future__ import annotations

import sys

from stress.producer import main

sys.exit(main(prog="python -m stress"))
