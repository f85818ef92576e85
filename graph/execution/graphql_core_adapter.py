"""The names of graphql-core that its documentation does not contain. No other module imports one.

`tests/house/test_dependencies.py` fails if graphql-core has lost one of them, and names it.
"""

from graphql import SelectionNode, TokenKind, ValueNode
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.executor import to_nodes
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValueSource
from graphql.language.parser import Parser, nested_too_deeply_error
from graphql.utilities.coerce_input_value import coerce_default_value
from graphql.validation.validate import (
    FragmentNestingVisitor,
    ValidationAbortedError,
    query_document_keys_to_validate,
)
from graphql.validation.validation_context import VariableUsage, VariableUsageVisitor

__all__ = [
    "CountingParser",
    "FieldDetailsList",
    "FragmentNestingVisitor",
    "GraphQLVariableSignature",
    "ValidationAbortedError",
    "VariableUsage",
    "VariableUsageVisitor",
    "VariableValueSource",
    "coerce_default_value",
    "get_variable_signature",
    "nested_too_deeply_error",
    "query_document_keys_to_validate",
    "to_nodes",
]


class CountingParser(Parser):
    """The parser, which counts the selections and the values of the document.

    Both methods repeat those of the parser instead of calling them. A call more on each level would reach Python's
    limit of recursion before the parser's limit of nesting.
    """

    selections = values = 0

    def parse_selection(self) -> SelectionNode:
        """Parse a field, a fragment spread or an inline fragment."""
        self.selections += 1
        return (self.parse_fragment if self.peek(TokenKind.SPREAD) else self.parse_field)()

    def parse_value_literal(self, is_const: bool) -> ValueNode:
        """Parse a value."""
        self.values += 1
        method_name = self._parse_value_literal_method_names.get(self._lexer.token.kind)
        if method_name is None:
            raise self.unexpected()
        value: ValueNode = getattr(self, f"parse_{method_name}")(is_const)
        return value
