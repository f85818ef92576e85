"""Limits of an operation, each with a name. What is held against them is measured by `graph.analysis.pricing`."""

from collections.abc import Iterable
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    ExecutableDefinitionNode,
    FieldNode,
    GraphQLError,
    InlineFragmentNode,
    ListValueNode,
    ObjectValueNode,
    ValueNode,
)

DEPTH_MAX = 20
ALIASES_MAX = 50
ROOT_FIELDS_MAX = 20
DIRECTIVES_MAX = 50
COST_MAX = 25_000
SENSITIVE_ROOT_FIELDS_MAX = 1
SELECTIONS_MAX = 500
WRITTEN_VALUES_MAX = 2_000
VALUES_MAX = 1_000_000

# Reading, checking and refusing what has no price of its own is charged by the processor's time that it takes: by about
# as much as an operation costs that takes as long. A refusal costs something in any case.
COST_PER_MS = 100
REFUSED_COST = 10


@dataclass(frozen=True, slots=True)
class Price:
    """An operation's measured values, against which the limits are held.

    Attributes:
        values: how many objects and leaves the answer has at most; it tells how long the answer takes to make.
        answer_bytes: how long the answer is at most, as JSON. It is no limit: nearly all answers are far shorter.
            Where it is above what an answer may have, it is measured while it is written
            (`graph.http.responses.writing`).
    """

    depth: int
    aliases: int
    root_fields: int
    directives: int
    sensitive_root_fields: int
    cost: int
    values: int
    answer_bytes: int

    def told(self) -> dict[str, int]:
        """Return what a client is told that asks for the cost: the price and how much it may be."""
        return {"requested": self.cost, "maximum": COST_MAX}

    def violations(self) -> list[GraphQLError]:
        """Return an error for each limit that is exceeded, with the measured value and the maximum."""
        measured = [
            ("depth", self.depth, DEPTH_MAX),
            ("aliases", self.aliases, ALIASES_MAX),
            ("root fields", self.root_fields, ROOT_FIELDS_MAX),
            ("directives", self.directives, DIRECTIVES_MAX),
            ("root fields that check a password", self.sensitive_root_fields, SENSITIVE_ROOT_FIELDS_MAX),
            ("cost", self.cost, COST_MAX),
            ("values", self.values, VALUES_MAX),
        ]
        return [_violation(name, value, maximum) for name, value, maximum in measured if value > maximum]


def check_written(document: DocumentNode) -> None:
    """Count the selections and values that stand in the document, before it is validated.

    Validation compares fields that meet under one name with each other: its time grows with the square of the document.
    600 times `users { nodes { id } }` took seconds. Values are coerced one by one when the operation is compiled, on
    the event loop; those of variables take a tenth of that time.

    Raises:
        GraphQLError: there are more than SELECTIONS_MAX or WRITTEN_VALUES_MAX, or there is nothing where something
            should be selected.
    """
    selections = values = 0
    pending = [one.selection_set for one in document.definitions if isinstance(one, ExecutableDefinitionNode)]
    while pending:
        selection_set = pending.pop()
        if not selection_set.selections:  # graphql-core's parser lets them pass, and the specification does not
            message = "Syntax Error: Expected a field or a fragment, found '}'."
            raise GraphQLError(message, selection_set, extensions={"code": "GRAPHQL_PARSE_FAILED"})
        selections += len(selection_set.selections)
        for one in selection_set.selections:
            if isinstance(one, FieldNode):
                values += _values(argument.value for argument in one.arguments or ())
            if isinstance(one, FieldNode | InlineFragmentNode) and one.selection_set is not None:
                pending.append(one.selection_set)
    if selections > SELECTIONS_MAX:
        raise _violation("selections", selections, SELECTIONS_MAX)
    if values > WRITTEN_VALUES_MAX:
        raise _violation("written values", values, WRITTEN_VALUES_MAX, "; send them in variables")


def _values(written: Iterable[ValueNode]) -> int:
    """Count values that are written in arguments, those within lists and objects too."""
    count, pending = 0, list(written)
    while pending:
        one = pending.pop()
        count += 1
        if isinstance(one, ListValueNode):
            pending += one.values
        elif isinstance(one, ObjectValueNode):
            pending += [member.value for member in one.fields]
    return count


def _violation(name: str, value: int, maximum: int, advice: str = "") -> GraphQLError:
    # A fragment bomb's numbers have hundreds of digits; nobody needs them.
    shown = value if value < 10**12 else "more than 10^12"
    extensions = {"code": "OPERATION_TOO_LARGE", "limit": name, "maximum": maximum, "measured": str(shown)}
    message = f"the operation's {name}: {shown}, and at most {maximum} allowed{advice}"
    return GraphQLError(message, extensions=extensions)
