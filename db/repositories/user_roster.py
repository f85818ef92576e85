"""The users with their roles, for operators of the server. Clients never see roles. The system user is left out.

`db.repositories.users` changes them, for operators and for clients.
"""

from collections.abc import AsyncIterator, Sequence

from asyncpg import Record
from sqlalchemy import BigInteger, Boolean, Text, bindparam, collate, func, or_, select

from db.connections.statements import Reader, Statement
from db.models.users import User

PAGE_ROWS = 500

_COLUMNS = (User.id, User.username, User.email, User.role, User.is_active, User.created_at)
_LISTED = Statement(
    select(*_COLUMNS)
    .where(
        User.id > bindparam("after_id", type_=BigInteger),
        User.role != "system",
        or_(User.role == "admin", bindparam("all_users", type_=Boolean)),
    )
    .order_by(User.id)
    .limit(PAGE_ROWS)
)
_LOGIN = func.lower(collate(bindparam("login", type_=Text), "C"))  # by the rules of ASCII alone, as in the columns
_FOUND = Statement(select(*_COLUMNS).where(or_(func.lower(User.username) == _LOGIN, func.lower(User.email) == _LOGIN)))


async def listed_users(reader: Reader, *, only_admins: bool = False) -> AsyncIterator[Sequence[Record]]:
    """Yield all users, or all administrators, in the order of their ids, in pages of PAGE_ROWS."""
    after = 0
    while page := await reader.fetch(_LISTED, {"after_id": after, "all_users": not only_admins}):
        yield page
        after = page[-1]["id"]


async def user_of_login(reader: Reader, login: str) -> Record | None:
    """Return the user with this username or email address, in any case of letters; it may be the system user."""
    rows = await reader.fetch(_FOUND, {"login": login})
    return rows[0] if rows else None
