"""Rows that belong to a row of another table, their parent: comments on posts.

Invariant: such a row exists for a viewer only if its parent does. The condition is in every statement
(`ChildRows.visible`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asyncpg import Record
from sqlalchemy import Column, ColumnElement, FromClause, SQLColumnExpression, bindparam, exists, insert, select

from db.access import AccessLevel, Viewer
from db.connections.statements import Reader, Statement, Writer
from db.constraints import violation_of
from db.errors import Refusal
from db.models.base import Model
from db.models.users import User
from db.query.pages import Columns
from db.query.statement_cache import statements
from db.repositories.users import VIEWER_ID
from db.repositories.versioned_rows import VersionedRows

Conditions = Sequence[SQLColumnExpression[bool]]
ParentConditions = Callable[[AccessLevel, FromClause], Conditions]
"""Returns conditions on a parent, given its table or an alias of it."""

AUTHOR = "author_id"


class ChildRows(VersionedRows):
    """The rows of one noun. They are seen where their parent is seen, with all of their columns.

    A user may write a row on each parent that they see, and change it as its author. Rows without an author belong to
    the owner of the parent.

    Attributes:
        author: the foreign key to the author, or None.
    """

    def __init__(
        self,
        model: type[Model],
        key: str,
        changeable: Sequence[str],
        seen: ParentConditions,
        owned: ParentConditions | None = None,
    ) -> None:
        """Declare the rows.

        `seen` and `owned` are the conditions under which an access level sees and may change a parent. `owned` is
        needed if the rows have no author.

        Raises:
            LookupError: nothing says who may write the rows.
        """
        columns = model.metadata.tables[model.__tablename__].columns
        self.key, self.author = columns[key], columns.get(AUTHOR)
        if self.author is None and owned is None:
            raise LookupError(f"{model.__tablename__} has no {AUTHOR}: declare with `owned` who may write its rows")
        [foreign_key] = self.key.foreign_keys
        self.parent = foreign_key.column.table
        self.seen, self.writable = seen, seen if owned is None else owned
        super().__init__(model.__name__.lower(), model, self._project, changeable, self._mine)

    def visible(self, access_level: AccessLevel) -> Conditions:
        """Return the conditions under which an access level sees a row."""
        return self._on_parent(self.seen, access_level)

    def unknown(self, key: Column[Any]) -> Refusal:
        """Return the refusal of a foreign key to a row that does not exist, or that the viewer may not use."""
        [foreign_key] = key.foreign_keys
        return violation_of(f"fk_{self.model.__tablename__}_{key.name}_{foreign_key.column.table.name}")

    def _mine(self, access_level: AccessLevel) -> Conditions:
        by_author = self.author is not None and access_level is not AccessLevel.ADMIN
        return (*((self.author == VIEWER_ID,) if by_author else ()), *self._on_parent(self.writable, access_level))

    def _on_parent(self, conditions: ParentConditions, access_level: AccessLevel) -> Conditions:
        parent = self.parent.alias(f"{self.noun}_parent")
        on_parent = conditions(access_level, parent)
        return (exists().where(parent.c.id == self.key, *on_parent),) if on_parent else ()

    def _project(self, columns: Columns, access_level: AccessLevel) -> Sequence[ColumnElement[Any]]:
        return [self.model.__table__.c[name] for name in columns]


async def create_row(
    of: ChildRows, writer: Writer, viewer: Viewer, columns: Columns, values: Mapping[str, object]
) -> Record:
    """Create a row and return it; a member writes as themself alone.

    Args:
        of: the rows of the noun.
        writer: commits the row.
        viewer: the user who writes.
        columns: the columns of the returned row.
        values: the keys of the parent and of the author, if there is one, and the columns that a new row is given.

    Raises:
        Refusal: the refusal of the foreign key: there is no such parent, or the viewer may not write as the author; or
            of a violated constraint of the table.
    """
    given = {**values, "viewer_id": viewer.user_id}
    may_write = of.author is None or viewer.is_admin or values[AUTHOR] == viewer.user_id
    statement = _insert_of(of, columns, viewer.access_level, tuple(values))

    async def by_steps(transaction: Reader) -> Sequence[Record]:
        rows = await transaction.fetch(statement, given) if may_write else ()
        if not rows:
            has_parent = await transaction.fetch(_parent_of(of, viewer.access_level), given)
            raise of.unknown(of.author if has_parent and of.author is not None else of.key)
        return rows

    rows = (await writer.autocommit_write(statement, given) if may_write else ()) or await writer.write(by_steps)
    return rows[0]


@statements
def _parent_of(of: ChildRows, access_level: AccessLevel) -> Statement:
    return Statement(select(of.parent.c.id).where(*_on_parent_given(of, access_level)))


def _on_parent_given(of: ChildRows, access_level: AccessLevel) -> Conditions:
    """Return the conditions under which an access level may write a row on the given parent."""
    given = of.parent.c.id == bindparam(of.key.name, type_=of.key.type)
    return (given, *of.writable(access_level, of.parent))


@statements
def _insert_of(of: ChildRows, columns: Columns, access_level: AccessLevel, names: tuple[str, ...]) -> Statement:
    """Insert the row if parent and author are as they must be."""
    rows = select(*(bindparam(name, type_=of.model.__table__.c[name].type) for name in names))
    rows = rows.where(exists().where(*_on_parent_given(of, access_level)))
    if of.author is not None:
        rows = rows.where(exists().where(User.id == bindparam(AUTHOR, type_=of.author.type), User.role != "system"))
    inserted = insert(of.model).from_select(names, rows)
    return Statement(inserted.returning(*of.project(columns, access_level)))
