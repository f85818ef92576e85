"""The indexes of the ledger by account cover what a statement adds up.

Builds two indexes of `transactions` concurrently, which have the amount and the time of each entry beside its key.
Then drops the two that they replace, which serve until then. Nobody waits for it: reads and writes go on. It waits
itself for transactions that are older, as long as they take.

Revision: 9a1f0c3e5b09
Revises: 9a1f0c3e5b08
Created: 2026-11-30 09:20:00+00:00
"""

from collections.abc import Sequence

from alembic import op

revision: str = "9a1f0c3e5b09"
down_revision: str | None = "9a1f0c3e5b08"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ENDS = ("from_id", "to_id")


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for end in ENDS:
            name = f"ix_transactions_{end}_id_covering"
            # What was interrupted while it was built is there, and good for nothing.
            op.drop_index(name, "transactions", if_exists=True, postgresql_concurrently=True)
            op.create_index(
                name,
                "transactions",
                [end, "id"],
                postgresql_include=["amount", "created_at"],
                postgresql_concurrently=True,
            )
        for end in ENDS:
            op.drop_index(f"ix_transactions_{end}_id", "transactions", if_exists=True, postgresql_concurrently=True)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for end in ENDS:
            name = f"ix_transactions_{end}_id"
            op.drop_index(name, "transactions", if_exists=True, postgresql_concurrently=True)
            op.create_index(name, "transactions", [end, "id"], postgresql_concurrently=True)
        for end in ENDS:
            name = f"ix_transactions_{end}_id_covering"
            op.drop_index(name, "transactions", if_exists=True, postgresql_concurrently=True)
