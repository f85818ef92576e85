"""Typical values of variables, by their types and by the arguments that take them: what a plan is explained with."""

from collections.abc import Mapping
from typing import Any

from graphql import (
    ArgumentNode,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLSchema,
    Node,
    ObjectFieldNode,
    OperationDefinitionNode,
    TypeInfo,
    TypeInfoVisitor,
    VariableNode,
    Visitor,
    get_named_type,
    get_nullable_type,
    is_list_type,
    is_non_null_type,
    type_from_ast,
    visit,
)

from graph.schema.ids import NodeKind

NUMBER = 1
VALUES: Mapping[str, object] = {
    "Int": 10,
    "Float": 1.0,
    "Boolean": True,
    "String": "text",
    "DateTime": "2026-01-01T00:00:00Z",
    "Decimal": "1.00",
    "UUID": "00000000-0000-4000-8000-000000000001",
    "CurrencyCode": "EUR",
}
KINDS = [kind.value for kind in NodeKind]
# Arguments that are named by what the user does, not by the kind of the node.
USERS = ("author", "owner")


def with_typical_values(
    schema: GraphQLSchema, document: Node, definition: OperationDefinitionNode, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the variables in `given`, and typical values of the others that the operation requires.

    A variable that has a default, or may be absent, is absent.
    """
    uses = _Uses(schema)
    visit(document, TypeInfoVisitor(uses.types, uses))
    values = dict(given)
    for one in definition.variable_definitions or ():
        name, type_ = one.variable.name.value, type_from_ast(schema, one.type)
        if name not in values and one.default_value is None and type_ is not None and is_non_null_type(type_):
            values[name] = _value(type_, uses.kinds.get(name, "user"))
    return values


class _Uses(Visitor):
    """Finds the kind of the ids that variables hold: by the name of an argument, else by the type of its field."""

    def __init__(self, schema: GraphQLSchema) -> None:
        super().__init__()
        self.types = TypeInfo(schema)
        self.kinds: dict[str, str] = {}
        self._name = ""

    def enter_argument(self, node: ArgumentNode, *_: object) -> None:
        self._name = node.name.value

    def enter_object_field(self, node: ObjectFieldNode, *_: object) -> None:
        self._name = node.name.value

    def enter_variable(self, node: VariableNode, *_: object) -> None:
        field = self.types.get_field_def()
        if field is not None and self._name:
            self.kinds.setdefault(
                node.name.value, _kind(self._name) or _kind(get_named_type(field.type).name) or "user"
            )

    def leave_argument(self, *_: object) -> None:
        self._name = ""


def _kind(name: str) -> str | None:
    words = name.lower().removesuffix("s").removesuffix("id")
    return "user" if words in USERS else next((kind for kind in KINDS if words.endswith(kind)), None)


def _value(type_: GraphQLInputType, kind: str) -> Any:
    inner = get_nullable_type(type_)
    if is_list_type(inner):
        return [_value(inner.of_type, kind)]
    if isinstance(inner, GraphQLEnumType):
        return next(iter(inner.values))
    if isinstance(inner, GraphQLInputObjectType):
        return {
            name: _value(one.type, _kind(name) or kind)
            for name, one in inner.fields.items()
            if is_non_null_type(one.type) and not one.default
        }
    name = get_named_type(inner).name
    return f"{kind}_{NUMBER}" if name == "ID" else VALUES[name]
