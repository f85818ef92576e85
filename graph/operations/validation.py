"""Parsing and validation of documents by graphql-core, with its reference cycles broken afterwards.

graphql-core leaves two kinds of cycles: the tokens of a document refer to each other in both directions, and visitors
refer to themselves and to the document. Documents of a flood, each of which comes once, would stay in memory until the
cycle collector runs.
"""

from collections.abc import Callable, Collection

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    Lexer,
    Node,
    OperationDefinitionNode,
    ParallelVisitor,
    Source,
    Token,
    TokenKind,
    TypeInfo,
    TypeInfoVisitor,
    ValidationContext,
    Visitor,
)
from graphql.validation import ASTValidationRule

from graph.analysis.limits import check_written
from graph.analysis.visiting import visit_once
from graph.execution.graphql_core_adapter import (
    CountingParser,
    FragmentNestingVisitor,
    ValidationAbortedError,
    VariableUsage,
    VariableUsageVisitor,
    nested_too_deeply_error,
    query_document_keys_to_validate,
)
from graph.execution.traces import forget_trace

TOKENS_MAX = 10_000
VALIDATION_ERRORS_MAX = 20


def parsed(text: str) -> tuple[DocumentNode, int]:
    """Parse `text`, and return the document and the number of its tokens.

    Raises:
        GraphQLError: the text is not a GraphQL document, or has more than TOKENS_MAX tokens, or more selections or
            values than `graph.analysis.limits` allows.
    """
    lexer = Lexer(Source(text))
    first = lexer.token
    parser = CountingParser(lexer.source, max_tokens=TOKENS_MAX, lexer=lexer, allow_empty_selection_sets=False)
    document: DocumentNode | None = None
    try:
        document = parser.parse_document()
    except RecursionError:
        pass
    finally:
        tokens = _unchained(first)
    if document is None:
        raise nested_too_deeply_error(parser)
    check_written(parser.selections, parser.values)
    return document, tokens


def written_tokens(node: Node) -> str:
    """Return the source text of a parsed node, token by token, without comments and white space."""
    assert node.loc is not None
    lexer = Lexer(Source(node.loc.source.body[node.loc.start : node.loc.end]))
    first, written = lexer.token, list[str]()
    while (token := lexer.advance()).kind is not TokenKind.EOF:
        written.append(lexer.source.body[token.start : token.end])
    _unchained(first)
    return "\n".join(written)


def _unchained(token: Token | None) -> int:
    count = 0
    while token is not None:
        count += 1
        following, token.prev, token.next = token.next, None, None
        token = following
    return count


def validated(
    schema: GraphQLSchema,
    document: DocumentNode,
    rules: Collection[type[ASTValidationRule]],
    *,
    hide_suggestions: bool,
) -> list[GraphQLError]:
    """Validate a document, and return up to VALIDATION_ERRORS_MAX errors, and one more where there are others.

    It does what `graphql.validate` does, and then breaks the cycles of the visitors.
    """
    errors: list[GraphQLError] = []

    def keep(error: GraphQLError) -> None:
        if len(errors) >= VALIDATION_ERRORS_MAX:
            raise ValidationAbortedError("Too many validation errors, error limit reached. Validation aborted.")
        errors.append(error)

    types = TypeInfo(schema)
    context = _Context(schema, document, types, keep, hide_suggestions)
    visitors: list[Visitor] = [rule(context) for rule in rules]
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    if fragments:
        visitors.insert(0, FragmentNestingVisitor(fragments))
    together = ParallelVisitor(visitors)
    try:
        visit_once(
            document, TypeInfoVisitor(types, together), together, *visitors, keys=query_document_keys_to_validate
        )
    except ValidationAbortedError as error:
        errors.append(error)
    except RecursionError:
        errors.append(ValidationAbortedError("Validation aborted."))
    for found in errors:
        forget_trace(found)
    return errors


class _Context(ValidationContext):
    """The validation context of graphql-core, with the cycles of its visitors for variables broken."""

    def __init__(
        self,
        schema: GraphQLSchema,
        document: DocumentNode,
        types: TypeInfo,
        on_error: Callable[[GraphQLError], None],
        hide_suggestions: bool,
    ) -> None:
        super().__init__(schema, document, types, on_error, hide_suggestions)
        self._types = types
        self._usages: dict[OperationDefinitionNode | FragmentDefinitionNode, list[VariableUsage]] = {}

    def get_variable_usages(self, node: OperationDefinitionNode | FragmentDefinitionNode) -> list[VariableUsage]:
        """Return the uses of variables in an operation or a fragment, without those in fragments that it spreads."""
        usages = self._usages.get(node)
        if usages is None:
            finder = VariableUsageVisitor(self._types, node if isinstance(node, FragmentDefinitionNode) else None)
            visit_once(node, TypeInfoVisitor(self._types, finder), finder)
            usages = self._usages[node] = finder.usages
        return usages
