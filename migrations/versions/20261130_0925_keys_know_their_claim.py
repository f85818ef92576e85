"""An idempotency key stores which request has claimed it.

Adds the column `idempotency_keys.claim_id`, which is null in existing rows. It takes the ACCESS EXCLUSIVE lock of the
table for a moment: movements of money wait for it. No row is rewritten.

Revision: 9a1f0c3e5b0a
Revises: 9a1f0c3e5b09
Created: 2026-11-30 09:25:00+00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "9a1f0c3e5b0a"
down_revision: str | None = "9a1f0c3e5b09"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.add_column("idempotency_keys", sa.Column("claim_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.drop_column("idempotency_keys", "claim_id")
