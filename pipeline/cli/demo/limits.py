"""How long a conversation of the demo may get."""

from __future__ import annotations

#: Messages: most that stay hot after a turn, and those that stay after archiving.
LIMIT, WINDOW = 8, 4
