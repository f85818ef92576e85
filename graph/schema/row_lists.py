"""The list of a parent's rows, as every noun has it: one call declares its orders, another its resolver.

For the noun `comment` the calls make `CommentOrderField`, `CommentOrder` and the arguments of the edges, with the same
words for every noun.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import GenericAlias
from typing import Annotated, Any

import strawberry

from db.query.cursors import Order, Term
from db.query.keyset_lists import KeysetList
from db.query.pages import Filter
from graph.execution import BoundEdge
from graph.runtime.context import Info
from graph.schema.connections import (
    After,
    Before,
    First,
    Last,
    OrderDirection,
    PageArguments,
    chosen_order,
    list_of_parent,
    order_of,
)


@dataclass(frozen=True, eq=False)
class RowOrders:
    """The orders of one list.

    Attributes:
        list_name: the name of the list, a plural.
        input_type: the type of one term of `orderBy`.
        terms: the terms by the names of their enum values.
        tie_breaker: the term that no two rows have in common.
        default: the order of a list without `orderBy`.
    """

    list_name: str
    input_type: Any
    terms: Mapping[str, Term]
    tie_breaker: Term
    default: Order

    def chosen(self, given: list[Any] | None) -> Order:
        """Return the order that an `orderBy` selects.

        Raises:
            BadInput: a field occurs in it twice.
        """
        if not given:
            return self.default
        return chosen_order(
            self.list_name, [(self.terms[one.field.name], one.direction) for one in given], self.tie_breaker
        )


def row_orders(noun: str, terms: Mapping[str, tuple[Term, str]], tie_breaker: Term) -> RowOrders:
    """Declare the orders of the lists of a noun.

    Args:
        noun: the noun, in the singular; its type has the same name with a capital.
        terms: for each value of the enum its term and its description; `CREATED_AT` is one of them.
        tie_breaker: the term that no two rows have in common, the id.
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
    oldest_first = order_of(plural, ((by_name["CREATED_AT"], False),), tie_breaker)
    return RowOrders(plural, input_type, by_name, tie_breaker, oldest_first)


def rows_of_parent(
    row_type: str, filter_type: type, conditions: Callable[[Any], Filter], orders: RowOrders
) -> Callable[[KeysetList], Callable[..., BoundEdge]]:
    """Return a function that makes, for a list, the resolver of the edges that lead to it.

    Args:
        row_type: the name of the type of the rows.
        filter_type: the input of the argument `filter`.
        conditions: returns the conditions of a filter, which may be None.
        orders: the orders of the list.
    """

    def resolver_of(of: KeysetList) -> Callable[..., BoundEdge]:
        def resolve(
            info: Info,
            first: First = None,
            after: After = None,
            last: Last = None,
            before: Before = None,
            filter_: Any = None,
            order_by: Any = None,
        ) -> BoundEdge:
            request = PageArguments(first, after, last, before).request(info, orders.chosen(order_by))
            return list_of_parent(info, of, row_type, conditions(filter_), request)

        resolve.__annotations__ |= _arguments(filter_type, orders)
        return resolve

    return resolver_of


def _arguments(filter_type: Any, orders: RowOrders) -> dict[str, Any]:
    annotated: Any = Annotated
    only = strawberry.argument(
        name="filter", description=f"Return only the {orders.list_name} that meet these conditions."
    )
    order = strawberry.argument(
        description="The sort keys, the most significant one first. The default is oldest first."
    )
    return {
        "filter_": annotated[filter_type | None, only],
        "order_by": annotated[GenericAlias(list, (orders.input_type,)) | None, order],
    }
