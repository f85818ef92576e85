"""The named limits of an operation. `graph.analysis.pricing` measures the values that are compared with them."""

from dataclasses import dataclass

from graphql import GraphQLError

DEPTH_MAX = 20
ALIASES_MAX = 50
ROOT_FIELDS_MAX = 20
DIRECTIVES_MAX = 50
COST_MAX = 25_000
SENSITIVE_ROOT_FIELDS_MAX = 1
SELECTIONS_MAX = 500
WRITTEN_VALUES_MAX = 2_000
VALUES_MAX = 1_000_000

# Some work has no price: reading, checking and refusing requests. It is charged by its processor time, at about the
# cost of an operation that takes as long. A refusal always costs something.
COST_PER_MS = 100
REFUSED_COST = 10


@dataclass(frozen=True, slots=True)
class Price:
    """An operation's measured values, against which the limits are held.

    Attributes:
        values: the maximum number of objects and leaves in the response; the time to make the response depends on it.
        answer_bytes: the maximum size of the response as JSON. It is not held against a limit, because nearly all
            responses are far shorter. If it exceeds the allowed size, the response is measured while it is written
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

    def as_extension(self) -> dict[str, int]:
        """Return the price and its maximum, for the response to a client that requests the cost."""
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


def check_written(selections: int, values: int) -> None:
    """Check the numbers that the parser counts in a document, before the document is validated.

    Validation compares the fields of each response name with each other. So its time grows with the square of them.
    600 times `users { nodes { id } }` took seconds. Values are coerced one by one when the operation is compiled, on
    the event loop; those of variables take a tenth of that time.

    Raises:
        GraphQLError: there are more than SELECTIONS_MAX or WRITTEN_VALUES_MAX.
    """
    if selections > SELECTIONS_MAX:
        raise _violation("selections", selections, SELECTIONS_MAX)
    if values > WRITTEN_VALUES_MAX:
        raise _violation("written values", values, WRITTEN_VALUES_MAX, "; send them in variables")


def _violation(name: str, value: int, maximum: int, advice: str = "") -> GraphQLError:
    # The numbers of a fragment bomb have hundreds of digits, which are of no use to a client.
    shown = value if value < 10**12 else "more than 10^12"
    extensions = {"code": "OPERATION_TOO_LARGE", "limit": name, "maximum": maximum, "measured": str(shown)}
    message = f"the operation's {name}: {shown}, and at most {maximum} allowed{advice}"
    return GraphQLError(message, extensions=extensions)
