"""The statements of lists: a page, a count, whether rows lie behind a page, and each of them for many parents at once.

A `ListSource` declares once what a list selects, which rows an access level sees and what its filters mean. Its
statements are derived from that. Each is compiled once for each shape.

If all terms of the order have the same direction, the condition for the rows behind a position is one row comparison,
which PostgreSQL turns into an index range. If the directions are mixed, the comparison is written out. A redundant
bound on the first term comes first, so that PostgreSQL can still use the index.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    SQLColumnExpression,
    and_,
    any_,
    bindparam,
    column,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.sql.selectable import CompoundSelect, TableValuedAlias
from sqlalchemy.sql.visitors import iterate, replacement_traverse

from db.access import AccessLevel
from db.connections.statements import KEYS_ARRAY, Statement
from db.query.cursors import Term
from db.query.pages import ROWS, Columns, PageShape
from db.query.statement_cache import statements


@dataclass(frozen=True, eq=False)
class ListSource:
    """One list: what it selects, which rows are visible, and what its filters mean.

    Attributes:
        edge: the name of the edge from a parent to its list, such as `posts_by_author`; empty if there is none.
        table: the table that holds the rows. It is read even if no selected column belongs to it: an email that the
            caller may not see is selected as NULL.
        project: returns the select's columns for column names and an access level, each labelled with its name; none is
            an array.
        joined: returns the conditions that join other tables, for columns of these tables; every row has its match
            there.
        visible: returns the conditions under which an access level sees a row. They may use the parameter `viewer_id`.
        conditions: the condition of each filter; its parameter has the name of the filter.
        opposite_bounds: for filters that are one end of a range, a bound at the other end that every row satisfies.
        parent_columns: the columns by which a row belongs to a parent. If there are several, a row must not belong to
            one parent by two of them, because a page is merged from one index range for each column.
        parent_visible: as `visible`, for the parent: its rows are visible only if this holds for its id.
    """

    edge: str
    table: FromClause
    project: Callable[[Columns, AccessLevel], Sequence[ColumnElement[Any]]]
    visible: Callable[[AccessLevel], Sequence[SQLColumnExpression[bool]]]
    conditions: Mapping[str, ColumnElement[bool]]
    opposite_bounds: Mapping[str, ColumnElement[bool]] = field(default_factory=dict)
    joined: Callable[[Columns], Sequence[ColumnElement[bool]]] = lambda _: ()
    parent_columns: Sequence[SQLColumnExpression[int]] = ()
    parent_visible: Callable[[AccessLevel, ColumnElement[int]], Sequence[ColumnElement[bool]]] | None = None

    @property
    def can_be_nested(self) -> bool:
        """Whether a page of it can be nested in its parents' statement. Several parent columns would need a merge."""
        return len(self.parent_columns) == 1


def rows_of(of: ListSource, columns: Columns, access_level: AccessLevel, filters: frozenset[str]) -> Select[Any]:
    """Return the select of a list's rows that an access level sees, with these filters."""
    conditions = [of.conditions[name] for name in sorted(filters)]
    rows = select(*of.project(columns, access_level)).select_from(of.table)
    return rows.where(*of.joined(columns), *of.visible(access_level), *conditions)


# A literal name, not the alias's column: SQLAlchemy would add the alias to the FROM of every subquery that uses it.
_PARENT_ID: ColumnElement[int] = literal_column("parents.id", BigInteger)


def page_rows(
    of: ListSource,
    columns: Columns,
    access_level: AccessLevel,
    filters: frozenset[str],
    shape: PageShape,
    *,
    has_order: bool = False,
) -> Select[Any]:
    """Return the select of a page, in its order; with `has_order` also with the columns `order_column` of its terms.

    Other tables are joined to the rows of the page alone. If the order needs a sort, PostgreSQL would otherwise join
    all rows that it sorts: it reads the other table as a whole, for a page of twenty rows.
    """
    joined = of.joined(columns)
    terms = [(order_column(index), *term) for index, term in enumerate(shape.directed())]
    names = [name for name, _, _ in terms]
    ordered: list[ColumnElement[Any]] = [term.expression.label(name) for name, term, _ in terms]
    if not joined:
        rows = rows_of(of, columns, access_level, filters)
        return cut(rows.add_columns(*ordered), shape, names) if has_order else cut(rows, shape)
    whole = select(*of.project(columns, access_level)).where(*joined)
    own = {one.name: one for one in iterate(whole) if isinstance(one, Column) and one.table is of.table}
    conditions = [of.conditions[name] for name in sorted(filters)]
    limited: Select[Any] = select(*own.values(), *ordered).where(*of.visible(access_level), *conditions)
    page = cut(limited, shape, names).subquery("page")

    def of_page(element: Any, **_: Any) -> Any:
        return page.c[element.name] if isinstance(element, Column) and element.table is of.table else None

    found: Any = replacement_traverse(whole, {}, of_page)
    joining: Select[Any] = found.add_columns(*[page.c[name] for name in names]) if has_order else found
    return joining.order_by(*page_ordering(page, shape))


def order_column(index: int) -> str:
    """Return the name of the column that holds the value of a term of the order."""
    return f"order {index}"


def page_ordering(rows: FromClause, shape: PageShape) -> list[ColumnElement[Any]]:
    """Return the order of rows that have the columns `order_column`."""
    columns = [(rows.c[order_column(index)], down) for index, (_, down) in enumerate(shape.directed())]
    return [column.desc() if down else column.asc() for column, down in columns]


def rows_by_parent(
    of: ListSource,
    columns: Columns,
    access_level: AccessLevel,
    filters: frozenset[str],
    parent_id: ColumnElement[int] = _PARENT_ID,
) -> list[Select[Any]]:
    """Return the selects of a parent's rows, one for each column by which a row may belong to it."""
    rows = rows_of(of, columns, access_level, filters)
    if of.parent_visible is not None:
        rows = rows.where(*of.parent_visible(access_level, parent_id))
    return [rows.where(belongs_to == parent_id) for belongs_to in of.parent_columns]


@statements
def page(
    of: ListSource, columns: Columns, access_level: AccessLevel, filters: frozenset[str], shape: PageShape
) -> Statement:
    """Return the statement of one page; its result is one record of arrays."""
    return Statement(as_arrays(page_rows(of, columns, access_level, filters, shape), columns))


@statements
def counted_page(
    of: ListSource, columns: Columns, access_level: AccessLevel, filters: frozenset[str], shape: PageShape
) -> Statement:
    """Return the statement of a page and of the list's number of rows: one record, the arrays and then the number."""
    total = _count_select(of, access_level, filters).scalar_subquery()
    return Statement(as_arrays(page_rows(of, columns, access_level, filters, shape), columns).add_columns(total))


@statements
def pages_by_parent(
    of: ListSource, columns: Columns, access_level: AccessLevel, filters: frozenset[str], shape: PageShape
) -> Statement:
    """Return the statement of a page for each of the parents `ids`: one record each, the parent's id and the arrays."""
    parents = _parents()
    merges = len(of.parent_columns) > 1
    read = tuple(dict.fromkeys((*columns, *shape.order.columns))) if merges else columns
    parts = [cut(rows, shape) for rows in rows_by_parent(of, read, access_level, filters)]
    # LATERAL limits every parent's page separately. One LIMIT over the batch would take all rows from the first parent.
    each = as_arrays(merge(parts, shape) if merges else parts[0], columns).lateral("page")
    return Statement(select(parents.c.id.label("parent_id"), each).select_from(parents.join(each, true())))


def by_ids(of: ListSource, columns: Columns, access_level: AccessLevel) -> Select[Any]:
    """Return the select of the visible rows of a list whose ids are in the parameter `ids`."""
    (row_id,) = of.project(("id",), access_level)
    rows = rows_of(of, columns, access_level, frozenset())
    return rows.where(getattr(row_id, "element", row_id) == any_(KEYS_ARRAY))


@statements
def count(of: ListSource, access_level: AccessLevel, filters: frozenset[str]) -> Statement:
    """Return the statement that counts a list."""
    return Statement(_count_select(of, access_level, filters))


def _count_select(of: ListSource, access_level: AccessLevel, filters: frozenset[str]) -> Select[Any]:
    """Return the count of a list, in a form that PostgreSQL plans only once.

    For `views >= $1` alone PostgreSQL expects to count a third of the table. It finds that a plan for the actual value
    costs less, and plans again each time, which takes longer than to count a thousand rows. With bounds at both ends it
    expects half a percent, and if it cannot see the value, it expects that each time: it counts the range of the index.
    The disadvantage: if nearly all of the table is counted and VACUUM has not run on it yet, the scan of the whole
    table would be faster, 0.2 s instead of 1.0 s for a million rows. Several filters are left to PostgreSQL, because
    the best choice among them depends on the values.
    """
    rows = rows_of(of, ("id",), access_level, filters)
    name = next(iter(filters)) if len(filters) == 1 else ""
    if name in of.opposite_bounds:
        rows = rows_of(of, ("id",), access_level, frozenset()).where(
            hidden(of.conditions[name]), of.opposite_bounds[name]
        )
    return rows.with_only_columns(func.count(), maintain_column_froms=True)


def hidden(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition with parameters whose values the planner cannot see: it plans for any value."""
    traversed: Any = replacement_traverse(condition, {}, _hidden)
    replaced: ColumnElement[bool] = traversed
    return replaced


def _hidden(element: Any, **_: Any) -> Any:
    return select(element).scalar_subquery() if isinstance(element, BindParameter) else None


@statements
def counts_by_parent(of: ListSource, access_level: AccessLevel, filters: frozenset[str]) -> Statement:
    """Return the statement that counts the list of each of the parents `ids`."""
    parents = _parents()
    total: ColumnElement[int] = literal(0, BigInteger)
    for rows in rows_by_parent(of, ("id",), access_level, filters):
        counted = rows.with_only_columns(func.count(), maintain_column_froms=True)
        total = total + counted.scalar_subquery()
    return Statement(select(parents.c.id, total))


@statements
def behind(of: ListSource, access_level: AccessLevel, filters: frozenset[str], shape: PageShape) -> Statement:
    """Return the statement that checks whether rows are at a position, or on the other side of it than the page."""
    beyond = _beyond(shape.directed(opposite=True), inclusive=True)
    return Statement(select(exists(rows_of(of, ("id",), access_level, filters).where(beyond))))


@statements
def behind_by_parent(of: ListSource, access_level: AccessLevel, filters: frozenset[str], shape: PageShape) -> Statement:
    """Do as `behind`, for the list of each of the parents `ids`."""
    parents = _parents()
    beyond = _beyond(shape.directed(opposite=True), inclusive=True)
    parts = rows_by_parent(of, ("id",), access_level, filters)
    return Statement(select(parents.c.id, or_(*(exists(rows.where(beyond)) for rows in parts))))


def _parents() -> TableValuedAlias:
    """Return the parents of a batch as a table with the one column `id`, from the parameter `ids`."""
    return func.unnest(KEYS_ARRAY).table_valued(column("id", BigInteger), name="parents").render_derived(name="parents")


def cut(rows: Select[Any], shape: PageShape, ordered_by: Sequence[str] = ()) -> Select[Any]:
    """Order and limit `rows`, and start them behind the position.

    A second LIMIT takes the first rows of the result, in the order in which they arrive. If `ordered_by` names the
    columns of `rows` that hold the terms of the order, the outer select is ordered too, so that the query around it
    need not sort again.
    """
    directed = shape.directed()
    if shape.continues:
        rows = rows.where(_beyond(directed, inclusive=False))
    ordering = [term.expression.desc() if descending else term.expression.asc() for term, descending in directed]
    planned = rows.order_by(*ordering).limit(_planned_rows(shape))
    if shape.exact:
        return planned
    listed = planned.subquery("planned")
    again = [
        listed.c[name].desc() if descending else listed.c[name].asc()
        for name, (_, descending) in zip(ordered_by, directed, strict=False)
    ]
    return select(listed).order_by(*again).limit(_ROWS)


def as_arrays(page: Select[Any] | CompoundSelect[Any], columns: Columns) -> Select[Any]:
    """Turn a page into one record of arrays. They keep its order, because the aggregates read it directly."""
    rows = page.subquery("listed")
    arrays: list[ColumnElement[Any]] = [func.array_agg(rows.c[name]).label(name) for name in columns]
    return select(*arrays)


def merge(parts: Sequence[Select[Any]], shape: PageShape) -> CompoundSelect[Any]:
    """Merge pages that are already limited: the first rows of the union are among the first rows of each part."""
    merged = union_all(*(part.subquery().select() for part in parts))
    columns = merged.selected_columns
    ordering = [
        columns[term.name].desc() if descending else columns[term.name].asc() for term, descending in shape.directed()
    ]
    return merged.order_by(*ordering).limit(_planned_rows(shape) if shape.exact else _ROWS)


_ROWS = bindparam(ROWS, type_=BigInteger)


def _planned_rows(shape: PageShape) -> ColumnElement[int]:
    return literal_column(str(shape.rows), Integer)


def _beyond(directed: Sequence[tuple[Term, bool]], *, inclusive: bool) -> ColumnElement[bool]:
    """Return the condition that a row lies beyond the position, in the directions of `directed`."""
    left: list[SQLColumnExpression[Any]] = [term.expression for term, _ in directed]
    right = [bindparam(f"position_{index}", type_=term.kind.sql_type) for index, (term, _) in enumerate(directed)]
    directions = {descending for _, descending in directed}
    if len(directions) == 1:
        row, position = tuple_(*left), tuple_(*right)
        if directions == {True}:
            return row <= position if inclusive else row < position
        return row >= position if inclusive else row > position
    equal = [ours == theirs for ours, theirs in zip(left, right, strict=True)]
    passing = [
        left[index] < right[index] if descending else left[index] > right[index]
        for index, (_, descending) in enumerate(directed)
    ]
    alternatives = [and_(*equal[:index], passes) for index, passes in enumerate(passing)]
    if inclusive:
        alternatives.append(and_(*equal))
    bound = left[0] <= right[0] if directed[0][1] else left[0] >= right[0]
    return and_(bound, or_(*alternatives))
