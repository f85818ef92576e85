"""An index finds spent refresh tokens by their time, so that they can be swept.

Builds an index of `refresh_tokens` concurrently. No client waits for it: reads and writes continue. The migration
itself waits until all older transactions have ended.

Revision: 9a1f0c3e5b08
Revises: 9a1f0c3e5b07
Created: 2026-11-30 09:15:00+00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "9a1f0c3e5b08"
down_revision: str | None = "9a1f0c3e5b07"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = "ix_refresh_tokens_used_at"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # An interrupted build leaves an invalid index.
        op.drop_index(INDEX, "refresh_tokens", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            INDEX,
            "refresh_tokens",
            ["used_at"],
            postgresql_where=sa.text("used_at IS NOT NULL"),
            postgresql_concurrently=True,
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(INDEX, "refresh_tokens", if_exists=True, postgresql_concurrently=True)
