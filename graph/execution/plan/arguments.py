"""The arguments of a field, prepared when the plan is made, so that a run has little left to do.

There are four cases:

- An argument without variables, whose value a resolver cannot mutate, is coerced once, when the plan is made.
- An argument that is a variable of a leaf type is read from the coerced variables.
- Input objects and lists are made at each run, by functions that `graph.execution.plan.inputs` prepares.
- Where a field has any other argument, all its arguments take the generic path at every run: graphql-core coerces
  them, then Strawberry converts them to input objects.
"""

import datetime
import decimal
import enum
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any

from graphql import (
    ArgumentNode,
    FieldNode,
    GraphQLArgument,
    GraphQLError,
    GraphQLField,
    GraphQLString,
    ListValueNode,
    NameNode,
    ObjectValueNode,
    OperationDefinitionNode,
    ValueNode,
    VariableNode,
    get_argument_values,
    is_leaf_type,
    is_non_null_type,
    is_required_argument,
)
from graphql.execution import VariableValues
from graphql.language import NonNullTypeNode

from graph.execution.plan.inputs import Maker, NeedsFullConversion, constant, is_wrapped, prepared
from graph.execution.strawberry_adapter import StrawberryArgument, StrawberryField, convert_arguments

Arguments = Callable[[VariableValues, Any], dict[str, Any]]
"""Makes the keyword arguments of a resolver from the coerced variables and the `Info` of the field."""

_IMMUTABLE = (
    type(None),
    bool,
    int,
    float,
    str,
    bytes,
    enum.Enum,
    decimal.Decimal,
    uuid.UUID,
    datetime.date,
    datetime.time,
    datetime.timedelta,
)
_NO_VARIABLES = VariableValues({}, {})


class ArgumentPlanner:
    """Prepares the arguments of the fields of one operation.

    Args:
        operation: the operation.
        converter: Strawberry's schema converter, or None for a schema that Strawberry did not make.
        hide_suggestions: whether errors leave out `Did you mean …`.
    """

    def __init__(self, operation: OperationDefinitionNode, converter: Any, *, hide_suggestions: bool) -> None:
        self._operation = operation
        self._converter = converter
        self._hide_suggestions = hide_suggestions

    def plan(
        self, field: GraphQLField, node: FieldNode, definition: StrawberryField | None, *, is_shared: bool = False
    ) -> Arguments:
        """Return the function that makes the arguments of `field` as `node` writes them.

        Where `definition` is not None, the arguments are converted for its resolver, otherwise they are as graphql-core
        coerces them. With `is_shared`, the field does not mutate its arguments: all runs may share constant ones.
        """
        if not field.args and not node.arguments:
            return _none

        def whole(variables: VariableValues, info: Any) -> dict[str, Any]:
            return self._converted(field, node, definition, variables, info)

        given = {argument.name.value: argument for argument in node.arguments or ()}
        fixed: dict[str, Any] = {}
        picks: list[tuple[str, str, bool]] = []
        makers: list[tuple[str, Maker]] = []
        for name, argument in field.args.items():
            node_given = given.get(name)
            value = node_given.value if node_given is not None else None
            if isinstance(value, VariableNode) and self._passes_through(name, argument, value.name.value, definition):
                picked = self._resolver_name(name, argument, definition)
                constants = (
                    {}
                    if is_required_argument(argument)
                    else self._constants(name, argument, None, definition, is_shared=is_shared)
                )
                if constants is None:
                    return whole
                picks.append((picked, value.name.value, picked in constants))
                fixed[picked] = constants.get(picked)  # keeps its position: a resolver with **kwargs sees the order
                continue
            constants = self._constants(name, argument, node_given, definition, is_shared=is_shared)
            if constants is None:
                maker = self._maker(name, argument, node_given, definition)
                if maker is None:
                    return whole
                made = self._resolver_name(name, argument, definition)
                makers.append((made, maker))
                constants = {made: None}
            fixed.update(constants)
        return _combined(fixed, picks, makers, whole) if picks or makers else _fixed(fixed)

    def only(
        self,
        field: GraphQLField,
        node: FieldNode,
        definition: StrawberryField | None,
        names: Collection[str],
        *,
        without: bool = False,
    ) -> tuple[GraphQLField, FieldNode]:
        """Return the field and its node with those arguments only that have these `names`, or `without` these."""
        kept = {
            name: argument
            for name, argument in field.args.items()
            if (self._resolver_name(name, argument, definition) in names) is not without
        }
        given = tuple([one for one in node.arguments or () if one.name.value in kept])
        return GraphQLField(field.type, args=kept), FieldNode(name=node.name, arguments=given, loc=node.loc)

    def _converted(
        self,
        field: GraphQLField,
        node: FieldNode,
        definition: StrawberryField | None,
        variables: VariableValues,
        info: Any,
    ) -> dict[str, Any]:
        values = get_argument_values(field, node, variables, None, self._hide_suggestions)
        if definition is None:
            return values
        converter = self._converter
        return convert_arguments(
            values,
            definition.arguments,
            scalar_registry=converter.scalar_registry,
            config=converter.config,
            info=info,
        )

    def _constants(
        self,
        name: str,
        argument: GraphQLArgument,
        given: ArgumentNode | None,
        definition: StrawberryField | None,
        *,
        is_shared: bool = False,
    ) -> Mapping[str, Any] | None:
        """Return the argument's value by its parameter name, or None if it is not constant."""
        if given is not None and has_variable(given.value):
            return None
        field = GraphQLField(GraphQLString, args={name: argument})
        node = FieldNode(name=NameNode(value=name), arguments=(given,) if given is not None else ())
        try:
            values = self._converted(field, node, definition, _NO_VARIABLES, None)
        except (GraphQLError, TypeError, ValueError):
            return None  # a field error, raised again at every run
        return values if is_shared or all(isinstance(value, _IMMUTABLE) for value in values.values()) else None

    def _maker(
        self, name: str, argument: GraphQLArgument, given: ArgumentNode | None, definition: StrawberryField | None
    ) -> Maker | None:
        """Return the function that makes the argument's value at each run, or None for the generic path."""
        if given is None or definition is None:
            return None
        return prepared(given.value, argument.type, self._strawberry_argument(name, definition).type, self._literal)

    def _literal(self, type_: Any, node: ValueNode) -> Maker | None:
        argument = GraphQLArgument(type_)
        constants = self._constants("value", argument, ArgumentNode(name=NameNode(value="value"), value=node), None)
        if constants is None:
            return None
        return constant(constants["value"])

    def _passes_through(
        self, name: str, argument: GraphQLArgument, variable: str, definition: StrawberryField | None
    ) -> bool:
        """Return whether the variable's coerced value can be the argument's value without conversion."""
        if definition is not None and is_wrapped(self._strawberry_argument(name, definition).type):
            return False
        type_ = argument.type
        if is_non_null_type(type_):
            type_ = type_.of_type
            definitions = self._operation.variable_definitions or ()
            if not any(
                one.variable.name.value == variable and isinstance(one.type, NonNullTypeNode) for one in definitions
            ):
                return False
        return is_leaf_type(type_)

    def _resolver_name(self, name: str, argument: GraphQLArgument, definition: StrawberryField | None) -> str:
        if definition is None:
            return argument.out_name or name
        return self._strawberry_argument(name, definition).python_name

    def _strawberry_argument(self, name: str, definition: StrawberryField) -> StrawberryArgument:
        name_of = self._converter.config.name_converter.from_argument
        return next(one for one in definition.arguments if name_of(one) == name)


def _none(variables: VariableValues, info: Any) -> dict[str, Any]:
    return {}


def _fixed(values: dict[str, Any]) -> Arguments:
    def fixed(variables: VariableValues, info: Any) -> dict[str, Any]:
        return values

    return fixed


def _combined(
    constants: dict[str, Any], picks: list[tuple[str, str, bool]], makers: list[tuple[str, Maker]], whole: Arguments
) -> Arguments:
    """Return the function that combines constants, variables and new values, in the order of the field's arguments.

    Args:
        constants: the constant values, and a placeholder for every other one.
        picks: the argument, the variable, and whether the placeholder is the argument's default.
        makers: the argument, and what makes its value at each run.
        whole: takes the generic path.
    """

    def combined(variables: VariableValues, info: Any) -> dict[str, Any]:
        coerced = variables.coerced
        values = dict(constants)
        for name, variable, has_default in picks:
            if variable in coerced:
                values[name] = coerced[variable]
            elif not has_default:
                del values[name]
        try:
            for name, maker in makers:
                values[name] = maker(coerced)
        except NeedsFullConversion:
            return whole(variables, info)
        return values

    return combined


def has_variable(node: ValueNode) -> bool:
    """Return whether a value contains a variable."""
    if isinstance(node, VariableNode):
        return True
    if isinstance(node, ListValueNode):
        return any(map(has_variable, node.values))
    if isinstance(node, ObjectValueNode):
        return any(has_variable(one.value) for one in node.fields)
    return False
