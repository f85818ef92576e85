"""Lists of users leave out the system user: their indexes contain people only.

Builds two new indexes of `users` concurrently, and drops the two that they replace. No client waits for it: reads and
writes continue. The migration itself waits until all older transactions have ended. Servers of the previous version
sort their lists of users until they are restarted.

Revision: 9a1f0c3e5b06
Revises: 9a1f0c3e5b05
Created: 2026-11-30 09:05:00+00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "9a1f0c3e5b06"
down_revision: str | None = "9a1f0c3e5b05"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

PEOPLE = {
    "ix_users_people_created_at_id": ["created_at", "id"],
    "ix_users_people_is_active_created_at_id": ["is_active", "created_at", "id"],
}
ALL_USERS = {
    "ix_users_created_at_id": ["created_at", "id"],
    "ix_users_is_active_created_at_id": ["is_active", "created_at", "id"],
}


def upgrade() -> None:
    _replace(ALL_USERS, PEOPLE, sa.text("role <> 'system'"))


def downgrade() -> None:
    _replace(PEOPLE, ALL_USERS, None)


def _replace(old: dict[str, list[str]], new: dict[str, list[str]], where: sa.TextClause | None) -> None:
    with op.get_context().autocommit_block():
        for name, columns in new.items():
            # An interrupted build leaves an invalid index.
            op.drop_index(name, "users", if_exists=True, postgresql_concurrently=True)
            op.create_index(name, "users", columns, postgresql_where=where, postgresql_concurrently=True)
        for name in old:
            op.drop_index(name, "users", if_exists=True, postgresql_concurrently=True)
