"""${message}

House rule: a migration runs while workers run. Add columns with defaults that need no rewrite, build indexes
CONCURRENTLY in a migration of their own, and drop a column only one release after the code has forgotten it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
