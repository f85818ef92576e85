"""An idempotency key of a list of all or none knows the list, and keys are kept.

Adds the column `idempotency_keys.list_hash`, empty in the rows that there are. It takes the ACCESS EXCLUSIVE lock of
the table for a moment: movements of money wait for it, and no row is rewritten. Takes rights away, of the owner of the
table too, who the application usually is: nobody deletes a key, and nothing of it is written later but its refusal.

Revision: 9a1f0c3e5b0b
Revises: 9a1f0c3e5b0a
Created: 2026-11-30 09:30:00+00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "9a1f0c3e5b0b"
down_revision: str | None = "9a1f0c3e5b0a"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.add_column("idempotency_keys", sa.Column("list_hash", sa.LargeBinary(), nullable=True))
    op.execute("REVOKE UPDATE, DELETE, TRUNCATE ON idempotency_keys FROM PUBLIC, CURRENT_USER")
    # The ledger refers to keys: PostgreSQL checks that with FOR KEY SHARE, which needs UPDATE of a column at least.
    op.execute("GRANT UPDATE (refusal_code, refusal_field, refusal_message) ON idempotency_keys TO CURRENT_USER")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.execute("REVOKE UPDATE (refusal_code, refusal_field, refusal_message) ON idempotency_keys FROM CURRENT_USER")
    op.execute("GRANT UPDATE, DELETE, TRUNCATE ON idempotency_keys TO CURRENT_USER")
    op.drop_column("idempotency_keys", "list_hash")
