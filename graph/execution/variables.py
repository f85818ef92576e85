"""Variables, in the common case: a JSON value that already is what its built-in scalar type would make of it.

Everything else, and every mistake, goes through graphql-core's own coercion, which words the errors.
"""

from typing import Any

from graphql import (
    GraphQLBoolean,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLSchema,
    GraphQLString,
    OperationDefinitionNode,
    is_non_null_type,
    type_from_ast,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource

_INT_MAX = 2**31 - 1
_CLASSES: dict[Any, type] = {
    GraphQLString: str,
    GraphQLID: str,
    GraphQLInt: int,
    GraphQLFloat: float,
    GraphQLBoolean: bool,
}


class Coercion:
    """Coerces the variables of one operation where that is simple."""

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode) -> None:
        self._simple: list[tuple[str, type, bool, GraphQLVariableSignature]] | None = []
        for definition in operation.variable_definitions or ():
            type_ = type_from_ast(schema, definition.type)
            signature = get_variable_signature(schema, definition)
            required = is_non_null_type(type_)
            expected = _CLASSES.get(type_.of_type if is_non_null_type(type_) else type_)
            if (
                expected is None
                or definition.default_value is not None
                or not isinstance(signature, GraphQLVariableSignature)
            ):
                self._simple = None
                return
            self._simple.append((definition.variable.name.value, expected, required, signature))

    def coerced(self, inputs: dict[str, Any]) -> VariableValues | None:
        """Return the coerced variables, or None where graphql-core should see to it."""
        if self._simple is None:
            return None
        sources: dict[str, VariableValueSource] = {}
        values: dict[str, Any] = {}
        for name, expected, required, signature in self._simple:
            if name not in inputs:
                if required:
                    return None
                sources[name] = VariableValueSource(signature)
                continue
            value = inputs[name]
            if type(value) is not expected and not (value is None and not required):
                return None
            if type(value) is int and not -_INT_MAX - 1 <= value <= _INT_MAX:
                return None
            if type(value) is float and value - value != 0.0:
                return None
            sources[name] = VariableValueSource(signature, value)
            values[name] = value
        return VariableValues(sources, values)
