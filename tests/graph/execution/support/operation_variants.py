"""Valid operations made harder: variables, conditions, aliases, fragments, and selections that merge.

hypothesis-graphql writes operations without any of these. This module writes them again, with random numbers deciding
where to add one; the result is as valid as the original.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from graphql import (
    ArgumentNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Undefined,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_non_null_type,
    parse,
    print_ast,
    value_from_ast_untyped,
)


class OperationVariant:
    """Makes one operation harder.

    Attributes:
        variables: the variables that the operation requires.
    """

    def __init__(self, random: Random, schema: GraphQLSchema, text: str) -> None:
        self._random = random
        self._schema = schema
        self._declared: list[str] = []
        self._fragments: list[str] = []
        self._aliases = 0
        self.variables: dict[str, Any] = {}
        definition = parse(text).definitions[0]
        assert isinstance(definition, OperationDefinitionNode)
        root = schema.get_root_type(definition.operation)
        assert root is not None
        body = self._selections(definition.selection_set, root)
        declared = f"({' '.join(self._declared)})" if self._declared else ""
        self.text = "\n".join([f"{definition.operation.value} Hard{declared} {body}", *self._fragments])

    def _happens(self, chance: float) -> bool:
        return self._random.random() < chance

    def _selections(self, node: SelectionSetNode, type_: GraphQLNamedType) -> str:
        parts = [self._selection(one, type_) for one in node.selections]
        if self._happens(0.15):
            parts.insert(self._random.randrange(len(parts) + 1), "__typename")
        if self._happens(0.2):
            # A selection that is repeated, once complete and once in part, merges.
            again = self._random.sample(parts, self._random.randint(1, len(parts)))
            parts.append(f"... {self._condition()} {{ {' '.join(again)} }}")
        body = f"{{ {' '.join(parts)} }}"
        if self._happens(0.15):
            name = f"Part{len(self._fragments)}"
            self._fragments.append(f"fragment {name} on {type_.name} {body}")
            spread = f"...{name} {self._condition()}"
            return f"{{ {spread} ...{name} __typename }}" if self._happens(0.3) else f"{{ {spread} }}"
        return body

    def _selection(self, node: Any, type_: GraphQLNamedType) -> str:
        assert not isinstance(node, FragmentSpreadNode)
        if isinstance(node, InlineFragmentNode):
            condition = node.type_condition
            inner = self._schema.get_type(condition.name.value) if condition else type_
            assert inner is not None
            on = f"on {inner.name}" if condition else ""
            return f"... {on} {self._condition()} {self._selections(node.selection_set, inner)}"
        assert isinstance(node, FieldNode)
        return self._field(node, type_)

    def _field(self, node: FieldNode, type_: Any) -> str:
        name = node.name.value
        if name == "__typename":
            return print_ast(node)
        definition = type_.fields[name]
        alias = f"{node.alias.value}: " if node.alias else ""
        if self._happens(0.2):
            self._aliases += 1
            alias = f"other{self._aliases}: "
        arguments = self._arguments(node.arguments or (), definition.args)
        below = ""
        named = get_named_type(definition.type)
        if is_composite_type(named):
            assert node.selection_set is not None
            below = self._selections(node.selection_set, named)
        # A condition always has a unique alias, so that its field never merges with another.
        return f"{alias}{name}{arguments} {self._condition()} {below}"

    def _condition(self) -> str:
        if not self._happens(0.15):
            return ""
        value = self._happens(0.7)
        directive, wanted = ("include", value) if self._happens(0.5) else ("skip", not value)
        given = str(wanted).lower() if self._happens(0.2) else self._variable("Boolean!", wanted)
        return f"@{directive}(if: {given})"

    def _variable(self, type_: str, value: Any) -> str:
        name = f"v{len(self._declared)}"
        self._declared.append(f"${name}: {type_}")
        if value is not Undefined:
            self.variables[name] = value
        return f"${name}"

    def _arguments(self, nodes: Sequence[ArgumentNode], arguments: dict[str, GraphQLArgument]) -> str:
        kept = [one for one in nodes if is_non_null_type(arguments[one.name.value].type) or self._happens(0.6)]
        if not kept:
            return ""
        parts = [f"{one.name.value}: {self._value(one.value, arguments[one.name.value])}" for one in kept]
        return f"({' '.join(parts)})"

    def _value(self, node: ValueNode, position: GraphQLArgument | GraphQLInputField) -> str:
        type_ = position.type
        if str(type_) != "Choice" and self._happens(0.35) and not isinstance(node, VariableNode):
            missing = not is_non_null_type(type_) and self._happens(0.2)
            return self._variable(str(type_), Undefined if missing else value_from_ast_untyped(node))
        inner = get_nullable_type(type_)
        if isinstance(node, ObjectValueNode) and isinstance(inner, GraphQLInputObjectType) and inner.is_one_of:
            # hypothesis-graphql writes any number of its members, including nulls.
            return f"{{ number: {self._variable('Int!', 5)} }}" if self._happens(0.5) else '{ name: "n" }'
        if isinstance(node, ObjectValueNode) and isinstance(inner, GraphQLInputObjectType):
            members = [
                f"{one.name.value}: {self._value(one.value, inner.fields[one.name.value])}" for one in node.fields
            ]
            return f"{{ {' '.join(members)} }}"
        return print_ast(node)
