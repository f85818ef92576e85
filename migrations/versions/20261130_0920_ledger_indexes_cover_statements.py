"""The ledger's indexes by account include the columns that account statements add up.

Builds two indexes of `transactions` concurrently, which include the amount and the time of each entry besides its key.
Then drops the two that they replace, which are used until then. No client waits for it: reads and writes continue. The
migration itself waits until all older transactions have ended.

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
            # An interrupted build leaves an invalid index.
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
