"""Exit codes."""

from __future__ import annotations

#: What was asked for was done.
OK = 0
#: It was not: a request failed, an invariant is broken, a server is away.
FAILED = 1
#: It could not be: wrong arguments, settings that do not fit.
MISUSED = 2
#: The user ended it with Ctrl-C.
INTERRUPTED = 130
