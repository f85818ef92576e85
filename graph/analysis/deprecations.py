"""Which deprecated parts of the schema an operation uses, as schema coordinates: `Post.body`, `Query.posts(page:)`.

One walk, when the operation is first prepared. Each fragment is visited once, however often it is spread. What stands
in the values of variables is not seen: they differ from run to run, and looking at them would cost every run.
"""

from typing import Any

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLSchema,
    Node,
    OperationDefinitionNode,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    get_named_type,
)

from graph.analysis.visiting import visit_once


def deprecated_coordinates(
    schema: GraphQLSchema, document: DocumentNode, operation_name: str | None
) -> tuple[str, ...]:
    """Return the coordinates, sorted, of one operation of a valid document."""
    types = TypeInfo(schema)
    finder = _Finder(types)
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    pending: list[Node] = [
        one
        for one in document.definitions
        if isinstance(one, OperationDefinitionNode) and (one.name.value if one.name else None) == operation_name
    ]
    while pending:
        visit_once(pending.pop(), TypeInfoVisitor(types, finder), finder)
        pending += [fragments.pop(name) for name in finder.spread if name in fragments]
    return tuple(sorted(finder.found))


class _Finder(Visitor):
    def __init__(self, types: TypeInfo) -> None:
        super().__init__()
        self._types = types
        self._field = ""
        self.found: set[str] = set()
        self.spread: set[str] = set()

    def enter_fragment_spread(self, node: Any, *_: object) -> None:
        self.spread.add(node.name.value)

    def enter_field(self, node: Any, *_: object) -> None:
        self._field = node.name.value  # its arguments are visited next, before anything else below it
        parent, field = self._types.get_parent_type(), self._types.get_field_def()
        if parent and field and field.deprecation_reason is not None:
            self.found.add(f"{parent.name}.{node.name.value}")

    def enter_argument(self, node: Any, *_: object) -> None:
        argument, name = self._types.get_argument(), node.name.value
        if argument is None or argument.deprecation_reason is None:
            return
        directive, parent = self._types.get_directive(), self._types.get_parent_type()
        if directive is not None:
            self.found.add(f"@{directive.name}({name}:)")
        elif parent is not None:
            self.found.add(f"{parent.name}.{self._field}({name}:)")

    def enter_object_field(self, node: Any, *_: object) -> None:
        parent = get_named_type(self._types.get_parent_input_type())
        if isinstance(parent, GraphQLInputObjectType):
            field = parent.fields.get(node.name.value)
            if field is not None and field.deprecation_reason is not None:
                self.found.add(f"{parent.name}.{node.name.value}")

    def enter_enum_value(self, node: Any, *_: object) -> None:
        type_ = get_named_type(self._types.get_input_type())
        if isinstance(type_, GraphQLEnumType):
            value = type_.values.get(node.value)
            if value is not None and value.deprecation_reason is not None:
                self.found.add(f"{type_.name}.{node.value}")
