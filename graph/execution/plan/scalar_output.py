"""Output of leaf values: values of built-in types are only checked where possible, all others are coerced."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphql import (
    GraphQLBoolean,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLOutputType,
    GraphQLString,
    Undefined,
    is_list_type,
    is_non_null_type,
)
from graphql.pyutils import inspect, is_iterable

from graph.execution.traces import forget_expected_trace


class InlineOutput(NamedTuple):
    """How generated code makes the response values of a scalar type, without a call for each value.

    It stands in the type's `extensions`, under the key of declarations. Values that do not pass the test are coerced by
    the type.

    Attributes:
        test: the expression of the test. `{v}` stands for the value.
        names: what the names in both expressions stand for.
    """

    test: str
    text: str
    names: Mapping[str, Any]


class NeedsErrorPath(Exception):  # noqa: N818 - not an error: it ends the fast path
    """The response contains an error or an invalid null: the slow path must complete it again, with error paths."""


@dataclass(slots=True, eq=False)
class FieldError:
    """An error that takes the place of a value."""

    error: Exception

    def __post_init__(self) -> None:
        forget_expected_trace(self.error)


class Broken(list[Any]):
    """The items of a list whose iterator raised before its end."""

    error: Exception

    @classmethod
    def of(cls, items: list[Any], error: Exception) -> "Broken":
        """Make the list of the `items` before `error`."""
        broken = cls(items)
        broken.error = error
        forget_expected_trace(error)
        return broken


def _unchanged(test: str) -> InlineOutput:
    return InlineOutput(test, "{v}", {})


BUILT_IN: Mapping[Any, InlineOutput] = {
    GraphQLString: _unchanged("type({v}) is str"),
    GraphQLID: _unchanged("type({v}) is str"),
    GraphQLBoolean: _unchanged("{v} is True or {v} is False"),
    GraphQLInt: _unchanged("type({v}) is int and -2147483648 <= {v} <= 2147483647"),
    GraphQLFloat: _unchanged("type({v}) is float and {v} - {v} == 0.0"),
}
"""The types whose valid values are response values already."""


def coerced(type_: Any, value: Any) -> Any:
    """Return the response value of a non-null leaf value.

    Raises:
        Exception: any exception of the type's own coercion; TypeError where the coercion returns nothing.
    """
    result = type_.coerce_output_value(value)
    if result is None or result is Undefined:
        raise TypeError(
            f"Expected `{inspect(type_)}.coerce_output_value({inspect(value)})` to return non-nullable value, "
            f"returned: {inspect(result)}"
        )
    return result


def writer(type_: GraphQLOutputType) -> Callable[[Any], Any]:
    """Return the function that makes response values of a leaf type, or of lists of it.

    The function raises NeedsErrorPath for every value that is an error in the response.
    """
    if is_non_null_type(type_):
        inner = type_.of_type
        return _never_null(writer(inner)) if is_list_type(inner) else _leaf(inner, may_be_null=False)
    if is_list_type(type_):
        return _list(writer(type_.of_type))
    return _leaf(type_, may_be_null=True)


def _never_null(write: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def never_null(value: Any) -> Any:
        written = write(value)
        if written is None:
            raise NeedsErrorPath
        return written

    return never_null


def _list(write: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def written_list(value: Any) -> Any:
        if value is None:
            return None
        # A subclass of `list` is a `Broken` list, and a value that is not iterable is an error.
        if type(value) is not list and (not is_iterable(value) or isinstance(value, list)):
            raise NeedsErrorPath
        return [write(item) for item in value]

    return written_list


def _leaf(type_: Any, *, may_be_null: bool) -> Callable[[Any], Any]:
    coerce = type_.coerce_output_value

    def leaf(value: Any) -> Any:
        if value is None:
            if may_be_null:
                return None
            raise NeedsErrorPath
        if value is Undefined or isinstance(value, FieldError | Exception):
            raise NeedsErrorPath
        try:
            written = coerce(value)
        except Exception:  # noqa: BLE001 - any exception of a scalar is the field's error
            raise NeedsErrorPath from None
        if written is None or written is Undefined:
            raise NeedsErrorPath
        return written

    return leaf
