"""Updates and deletes rows with an owner and a version, for each noun of this kind by one statement.

Invariants: a row that the viewer may not change is neither locked nor waited for. The version and `updated_at` change
only if a value changes. If the statement changes nothing, a second one locks the row and finds the reason.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asyncpg import Record
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    SQLColumnExpression,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    update,
)

from db.access import AccessLevel, Viewer
from db.connections.statements import Reader, Statement, Writer
from db.errors import Refusal
from db.models.base import Model
from db.query.pages import Columns
from db.query.statement_cache import statements

_ID = bindparam("id", type_=BigInteger)
_EXPECTED = bindparam("expected_version", type_=BigInteger)


@dataclass(eq=False)
class VersionedRows:
    """The rows of one noun, with the columns `id`, `version` and `updated_at`.

    Attributes:
        project: returns what an access level sees of the columns, as for a list.
        changeable: the columns that an update may set.
        mine: the conditions under which an access level may change a row; they may use the parameter `viewer_id`.
    """

    noun: str
    model: type[Model]
    project: Callable[[Columns, AccessLevel], Sequence[ColumnElement[Any]]]
    changeable: Sequence[str]
    mine: Callable[[AccessLevel], Sequence[SQLColumnExpression[bool]]]


async def update_row(
    of: VersionedRows,
    writer: Writer,
    viewer: Viewer,
    columns: Columns,
    row_id: int,
    changes: Mapping[str, object],
    *,
    expected_version: int | None = None,
) -> Record:
    """Set the columns in `changes`, increase the version if one differs, and return the row.

    Raises:
        Refusal: NOT_FOUND: the row does not exist, or the viewer may not change it.
        Refusal: VERSION_CONFLICT: the row has another version than `expected_version`.
    """
    is_expected = expected_version is not None
    statement = _update_of(of, columns, viewer.access_level, frozenset(changes), is_expected)
    values = {**changes, "id": row_id, "viewer_id": viewer.user_id, "expected_version": expected_version}

    async def by_steps(transaction: Reader) -> Sequence[Record]:
        rows = await transaction.fetch(statement, values)
        if not rows:
            # Raise the reason, unless another change has led to the expected version meanwhile.
            await _lock(of, transaction, viewer, row_id, expected_version)
            rows = await transaction.fetch(statement, values)
        return rows

    async with writer.turn([(of.noun, row_id, viewer.user_id or 0)]):
        rows = await writer.autocommit_write(statement, values) or await writer.write(by_steps)
    return rows[0]


async def delete_row(of: VersionedRows, writer: Writer, viewer: Viewer, row_id: int) -> None:
    """Delete a row.

    Raises:
        Refusal: NOT_FOUND: the row does not exist, or the viewer may not delete it.
    """
    if not await write_row(of, writer, viewer, row_id, _delete_of(of, viewer.access_level)):
        raise _not_found(of)


async def write_row(
    of: VersionedRows, writer: Writer, viewer: Viewer, row_id: int, statement: Statement
) -> Sequence[Record]:
    """Execute a write of one statement on one row, in a transaction if it needs one, and return its rows."""
    values = {"id": row_id, "viewer_id": viewer.user_id}
    async with writer.turn([(of.noun, row_id, viewer.user_id or 0)]):
        return await writer.autocommit_write(statement, values) or await writer.write(
            lambda transaction: transaction.fetch(statement, values)
        )


async def _lock(
    of: VersionedRows, transaction: Reader, viewer: Viewer, row_id: int, expected_version: int | None
) -> None:
    # A wait for the row of another user would reveal that it exists.
    values = {"id": row_id, "viewer_id": viewer.user_id}
    rows = await transaction.fetch(_lock_of(of, viewer.access_level), values)
    if not rows:
        raise _not_found(of)
    ensure_version(of.noun, rows[0]["version"], expected_version)


def ensure_version(noun: str, version: int, expected: int | None) -> None:
    """Raise the refusal VERSION_CONFLICT if the version of a locked row is not `expected`, which may be None."""
    if expected is not None and version != expected:
        message = f"the {noun} has changed since: its version is {version}, not {expected}"
        raise Refusal("VERSION_CONFLICT", ("expectedVersion",), message)


def _not_found(of: VersionedRows) -> Refusal:
    return Refusal("NOT_FOUND", ("id",), f"no such {of.noun}")


@statements
def _lock_of(of: VersionedRows, access_level: AccessLevel) -> Statement:
    table = of.model.__table__
    rows = select(table.c.version).where(table.c.id == _ID, *of.mine(access_level))
    return Statement(rows.with_for_update(key_share=True, of=table))


@statements
def _update_of(
    of: VersionedRows, columns: Columns, access_level: AccessLevel, changed: frozenset[str], is_expected: bool
) -> Statement:
    table = of.model.__table__
    expected = (table.c.version == _EXPECTED,) if is_expected else ()
    conditions = (table.c.id == _ID, *of.mine(access_level), *expected)
    if not changed:
        return Statement(select(*of.project(columns, access_level)).where(*conditions))
    changeable = [name for name in of.changeable if name in changed]
    values = {name: bindparam(name, type_=table.c[name].type) for name in changeable}
    # Equal values are written too, so that one statement compares with the latest row, and always returns it.
    differs = or_(*(table.c[name].is_distinct_from(value) for name, value in values.items()))
    return Statement(
        update(of.model)
        .where(*conditions)
        .values(version=case((differs, table.c.version + 1), else_=table.c.version), **values)
        .values(updated_at=case((differs, func.clock_timestamp()), else_=table.c.updated_at))
        .returning(*of.project(columns, access_level))
    )


@statements
def _delete_of(of: VersionedRows, access_level: AccessLevel) -> Statement:
    table = of.model.__table__
    return Statement(delete(of.model).where(table.c.id == _ID, *of.mine(access_level)).returning(table.c.id))
