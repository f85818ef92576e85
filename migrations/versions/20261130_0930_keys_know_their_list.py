"""An idempotency key of an all-or-none list stores the digest of the list, and keys cannot be deleted.

Adds the column `idempotency_keys.list_hash`, which is null in existing rows. It takes the ACCESS EXCLUSIVE lock of the
table for a moment: movements of money wait for it. No row is rewritten. Revokes rights, also from the owner of the
table, which is usually the role of the application: no client can delete a key, or change anything in it but its
refusal.

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
    # The ledger refers to keys. PostgreSQL checks that with FOR KEY SHARE, which needs UPDATE of at least one column.
    op.execute("GRANT UPDATE (refusal_code, refusal_field, refusal_message) ON idempotency_keys TO CURRENT_USER")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.execute("REVOKE UPDATE (refusal_code, refusal_field, refusal_message) ON idempotency_keys FROM CURRENT_USER")
    op.execute("GRANT UPDATE, DELETE, TRUNCATE ON idempotency_keys TO CURRENT_USER")
    op.drop_column("idempotency_keys", "list_hash")
