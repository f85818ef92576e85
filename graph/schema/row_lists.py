"""Lists of rows with filters and orders: declared once for each noun, with the same words for every noun.

For the noun `comment` the calls make `CommentFilter`, `CommentOrderField`, `CommentOrder` and the resolvers of lists.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import GenericAlias
from typing import Annotated, Any, NamedTuple, TypeVar, dataclass_transform

import strawberry

from db.query.cursors import Order, Term
from db.query.keyset_lists import KeysetList
from db.query.pages import Filter
from db.query.text_search import SEARCH
from graph.analysis.cost import PAGE
from graph.analysis.cost import SEARCH as COST_OF_SEARCH
from graph.execution import EdgeBinding
from graph.runtime.context import Info
from graph.schema.connections import (
    After,
    Before,
    First,
    Last,
    OrderDirection,
    chosen_order,
    order_of,
)
from graph.schema.fields import edge, lookup_field
from graph.schema.list_bindings import PAGE_KEYS, list_binding
from graph.schema.nodes import DateTimeRange, IntRange
from graph.schema.searches import searched

T = TypeVar("T")


# ---------------------------------------------------------------- filters


class _Part(NamedTuple):
    """A part of a filter: the function that reads its value, and for a range its ends with their conditions."""

    name: str
    read: Callable[[Any], Any] | None
    ends: Sequence[tuple[str, str]]


_PARTS: dict[type, list[_Part]] = {}
_ENDS = {DateTimeRange | None: ("gte", "lt"), IntRange | None: ("gte", "lte")}


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
def row_filter(plural: str, **read: Callable[[Any], Any]) -> Callable[[type[T]], type[T]]:
    """Declare the filter of a list. A range has a condition for each end, another part one with its name.

    For parts that a client writes in another form, `read` has the function that returns the value of the condition; or
    None for a value that filters nothing.
    """

    def declare(cls: type[T]) -> type[T]:
        description = (
            f"Conditions on {plural}. All conditions that are given must be met. A condition that is null is ignored."
        )
        made = strawberry.input(cls, description=description)
        readers = {SEARCH: searched, **read}
        _PARTS[made] = [
            _Part(name, readers.get(name), [(end, f"{name}_{end}") for end in _ENDS.get(type_, ())])
            for name, type_ in cls.__annotations__.items()
        ]
        return made

    return declare


def search(description: str) -> Any:
    """Declare the part `search` of a filter."""
    return strawberry.field(default=None, description=description, directives=[COST_OF_SEARCH])


def conditions_of(filter_: object) -> Filter:
    """Return the conditions of a filter, which may be None.

    Raises:
        BadInput: a part is malformed.
    """
    conditions: dict[str, Any] = {}
    for name, read, ends in () if filter_ is None else _PARTS[type(filter_)]:
        value = getattr(filter_, name)
        if value is None:
            continue
        for end, condition in ends:
            if (bound := getattr(value, end)) is not None:
                conditions[condition] = bound
        if not ends and (found := value if read is None else read(value)) is not None:
            conditions[name] = found
    return conditions


# ---------------------------------------------------------------- orders


@dataclass(frozen=True, eq=False)
class RowOrders:
    """The orders of one list.

    Attributes:
        input_type: the type of one term of `orderBy`.
        terms: the terms by the names of their enum values. `RELEVANCE` needs the condition `search`.
        tie_breaker: the term that no two rows have in common.
        default: the order of a list without `orderBy`.
    """

    list_name: str
    input_type: Any
    terms: Mapping[str, Term]
    tie_breaker: Term
    default: Order
    newest_first: bool

    def chosen(self, given: list[Any] | None, conditions: Filter) -> Order:
        """Return the order that an `orderBy` selects.

        Without a search among the `conditions` all rows are equally relevant, and only the other terms order them.

        Raises:
            BadInput: a field occurs in it twice.
        """
        if not given:
            return self.default
        terms = [(self.terms[one.field.name], one.direction) for one in given]
        order = chosen_order(self.list_name, terms, self.tie_breaker)
        relevance = self.terms.get("RELEVANCE")
        if relevance is None or relevance.name not in order.columns:
            return order
        if SEARCH in conditions:
            return _bound(order, str(conditions[SEARCH]))
        others = [term for term in terms if term[0] is not relevance]
        return chosen_order(self.list_name, others, self.tie_breaker) if others else self.default


@lru_cache
def _bound(order: Order, search_: str) -> Order:
    # The same search must return the same object, so that equal fields of one operation share one page.
    return order.bound_to(search_)


def row_orders(
    noun: str, terms: Mapping[str, tuple[Term, str]], tie_breaker: Term, *, newest_first: bool = False
) -> RowOrders:
    """Declare the orders of the lists of a noun.

    `noun` is in the singular. `terms` has a term and a description for each value of the enum; `CREATED_AT` is one of
    them. `tie_breaker` is the id.
    """
    plural, type_name = f"{noun}s", noun.capitalize()
    make: Callable[..., Any] = Enum
    values = {name: strawberry.enum_value(name, description=text) for name, (_, text) in terms.items()}
    enum: Any = make(f"{type_name}OrderField", values, module=__name__)
    enum = strawberry.enum(enum, description=f"The fields by which {plural} can be sorted.")
    members = {
        "__module__": __name__,
        "__doc__": "A field and a direction.",
        "__annotations__": {"field": enum, "direction": OrderDirection},
        "field": strawberry.field(description="The field to sort by."),
        "direction": strawberry.field(description="The direction of the sort."),
    }
    input_type = strawberry.input(type(f"{type_name}Order", (), members), description=f"One sort key of {plural}.")
    by_name = {name: term for name, (term, _) in terms.items()}
    default = order_of(plural, ((by_name["CREATED_AT"], newest_first),), tie_breaker)
    return RowOrders(plural, input_type, by_name, tie_breaker, default, newest_first)


# ---------------------------------------------------------------- resolvers


@dataclass(frozen=True, eq=False)
class RowLists:
    """The lists of one noun."""

    row_type: str
    filter_type: type
    orders: RowOrders

    def query(self, of: KeysetList, description: str) -> Any:
        """Declare the query for a list without a parent."""
        loading = self._loading(of, has_parent=False)
        return lookup_field(loading, description, keys=PAGE_KEYS, directives=[PAGE])

    def edge(self, of: KeysetList, description: str, *, joins: bool = False) -> Any:
        """Declare the edge from a parent to its list; `joins` is as of `graph.schema.fields.edge`."""
        loading = self._loading(of, has_parent=True)
        return edge("id", loading, description, joins=joins, keys=PAGE_KEYS, directives=[PAGE])

    def _loading(self, of: KeysetList, *, has_parent: bool) -> Callable[..., EdgeBinding]:
        def resolve(
            info: Info,
            first: First = None,
            after: After = None,
            last: Last = None,
            before: Before = None,
            filter_: Any = None,
            order_by: Any = None,
        ) -> EdgeBinding:
            conditions = conditions_of(filter_)
            order = self.orders.chosen(order_by, conditions)
            return list_binding(info, of, self.row_type, conditions, order, first, last, has_parent=has_parent)

        return self.with_arguments(resolve)

    def with_arguments(self, resolve: T) -> T:
        """Set types and descriptions of the parameters `filter_` and `order_by`, and return the resolver."""
        annotated: Any = Annotated
        only = strawberry.argument(
            name="filter", description=f"Return only the {self.orders.list_name} that meet these conditions."
        )
        first = "newest" if self.orders.newest_first else "oldest"
        description = f"The sort keys, the most significant one first. The default is {first} first."
        order = strawberry.argument(description=description)
        resolve.__annotations__ |= {
            "filter_": annotated[self.filter_type | None, only],
            "order_by": annotated[GenericAlias(list, (self.orders.input_type,)) | None, order],
        }
        return resolve


def plain_edge(of: KeysetList, row_type: str, order: Order, description: str) -> Any:
    """Declare the edge from a parent to a list without filters, in one order."""

    def resolve(
        info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> EdgeBinding:
        return list_binding(info, of, row_type, {}, order, first, last, has_parent=True)

    return edge("id", resolve, description, keys=PAGE_KEYS, directives=[PAGE])
