"""Collects the fields of a selection set for one object type, after CollectFields in the GraphQL specification.

The specification runs this algorithm during execution; here it runs when a plan is made. The *conditions* of the plan
decide @skip and @include: they are the values of the Boolean variables that these directives use. An operation has one
plan for each vector of conditions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from graphql import (
    BooleanValueNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    is_abstract_type,
)

INTROSPECTION = frozenset({"__schema", "__type"})
Conditions = Mapping[str, bool]
Collected = dict[str, list[FieldNode]]
Fragments = Mapping[str, FragmentDefinitionNode]


class Unsupported(Exception):  # noqa: N818 - a decision, not an error
    """The operation is left to the ordinary engine. The message is the reason, from a small fixed set."""


def fragments_of(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    """Return the fragments of a document by name."""
    return {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}


def condition_variables(operation: OperationDefinitionNode, fragments: Fragments) -> tuple[str, ...]:
    """Return the names of the variables that @skip and @include use anywhere in the operation, each once."""
    found: dict[str, None] = {}
    for node in _selections(operation, fragments):
        found.update(dict.fromkeys(_variables_in(node.directives or ())))
    return tuple(found)


def refusal(operation: OperationDefinitionNode, fragments: Fragments) -> str | None:
    """Return why the operation is left to the ordinary engine, or None if it can be planned.

    The check covers the whole operation. Levels below an abstract type are planned only after resolvers have run, and
    then it is too late to switch to another engine.
    """
    if operation.directives:
        return "directive"
    if any(fragment.variable_definitions for fragment in fragments.values()):
        return "fragment variables"
    for node in _selections(operation, fragments):
        if isinstance(node, FieldNode) and node.name.value in INTROSPECTION:
            return "introspection"
        if any(directive.name.value in {"defer", "stream"} for directive in node.directives or ()):
            return "incremental delivery"
    return None


def _selections(operation: OperationDefinitionNode, fragments: Fragments) -> Iterator[SelectionNode]:
    """Yield every selection of the operation. The selections of a fragment are yielded once."""
    visited: set[str] = set()
    pending: list[SelectionSetNode] = [operation.selection_set]
    while pending:
        for node in pending.pop().selections:
            yield node
            if isinstance(node, FragmentSpreadNode):
                name = node.name.value
                if name not in visited and name in fragments:
                    visited.add(name)
                    pending.append(fragments[name].selection_set)
            elif isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set is not None:
                pending.append(node.selection_set)


def _variables_in(directives: Iterable[DirectiveNode]) -> list[str]:
    return [
        argument.value.name.value
        for directive in directives
        if directive.name.value in {"skip", "include"}
        for argument in directive.arguments or ()
        if isinstance(argument.value, VariableNode)
    ]


class Collector:
    """Collects fields under one vector of conditions."""

    def __init__(self, schema: GraphQLSchema, fragments: Fragments, conditions: Conditions) -> None:
        self._schema = schema
        self._fragments = fragments
        self._conditions = conditions

    def collect(self, type_: GraphQLObjectType, selection_sets: Sequence[SelectionSetNode]) -> Collected:
        """Return the field nodes for each response key, in the order of the response."""
        collected: Collected = {}
        visited: set[str] = set()
        for selection_set in selection_sets:
            self._visit(type_, selection_set, collected, visited)
        return collected

    def _visit(
        self, type_: GraphQLObjectType, selection_set: SelectionSetNode, collected: Collected, visited: set[str]
    ) -> None:
        for node in selection_set.selections:
            if not self._included(node):
                continue
            if isinstance(node, FieldNode):
                key = node.alias.value if node.alias else node.name.value
                collected.setdefault(key, []).append(node)
            elif isinstance(node, InlineFragmentNode):
                condition = node.type_condition.name.value if node.type_condition else None
                if condition is None or self._applies(type_, condition):
                    self._visit(type_, node.selection_set, collected, visited)
            elif isinstance(node, FragmentSpreadNode):
                name = node.name.value
                fragment = self._fragments.get(name)
                if name not in visited and fragment is not None:
                    visited.add(name)
                    if self._applies(type_, fragment.type_condition.name.value):
                        self._visit(type_, fragment.selection_set, collected, visited)

    def _applies(self, type_: GraphQLObjectType, condition: str) -> bool:
        if condition == type_.name:
            return True
        conditional = self._schema.get_type(condition)
        return is_abstract_type(conditional) and self._schema.is_sub_type(conditional, type_)

    def _included(self, node: SelectionNode) -> bool:
        for directive in node.directives or ():
            name = directive.name.value
            if name in {"skip", "include"} and self._holds(directive) is (name == "skip"):
                return False
        return True

    def _holds(self, directive: DirectiveNode) -> bool:
        for argument in directive.arguments or ():
            if isinstance(argument.value, BooleanValueNode):
                return argument.value.value
            if isinstance(argument.value, VariableNode) and argument.value.name.value in self._conditions:
                return self._conditions[argument.value.name.value]
        raise Unsupported("condition")
