"""Analyses the operations of a document without validation, and counts how often each part is visited."""

from collections.abc import Iterator, Mapping

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    parse,
    print_ast,
)

from graph.analysis.field_facts import SchemaFacts
from graph.analysis.walk import Analysis, analyse
from graph.schema.root import graphql_schema


def analysed(text: str | DocumentNode, name: str | None = None, schema: GraphQLSchema = graphql_schema) -> Analysis:
    """Return the analysis of the operation `name` of a document."""
    definitions = (parse(text) if isinstance(text, str) else text).definitions
    fragments = {one.name.value: one for one in definitions if isinstance(one, FragmentDefinitionNode)}
    [operation] = [
        one
        for one in definitions
        if isinstance(one, OperationDefinitionNode) and (one.name.value if one.name else None) == name
    ]
    return analyse(SchemaFacts(schema), operation, fragments)


class _Selections(list[SelectionNode]):
    """The selections of a selection set, which count how often they are iterated."""

    def __init__(self, selections: tuple[SelectionNode, ...]) -> None:
        super().__init__(selections)
        self.visits = 0

    def __iter__(self) -> Iterator[SelectionNode]:
        self.visits += 1
        return super().__iter__()


class Visits:
    """Counts how often each selection set of a document is visited from now on."""

    def __init__(self, document: DocumentNode) -> None:
        self._counted: list[tuple[str, _Selections]] = []
        for one in document.definitions:
            if isinstance(one, OperationDefinitionNode | FragmentDefinitionNode):
                self._count(one.selection_set)

    def _count(self, node: SelectionSetNode) -> None:
        for one in node.selections:
            below = getattr(one, "selection_set", None)
            if below is not None:
                self._count(below)
        first = print_ast(node.selections[0]).partition(" {")[0]
        counted = _Selections(node.selections)
        object.__setattr__(node, "selections", counted)  # the nodes of a document are frozen
        self._counted.append((first, counted))

    def by_first_selection(self) -> Mapping[str, list[int]]:
        """Return the counts of the selection sets, by the first selection in them."""
        found: dict[str, list[int]] = {}
        for first, counted in self._counted:
            found.setdefault(first, []).append(counted.visits)
        return found

    def counts(self) -> set[int]:
        """Return the distinct numbers of visits of all selection sets."""
        return {counted.visits for _, counted in self._counted}
