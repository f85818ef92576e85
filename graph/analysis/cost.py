"""The cost directives of the schema, from which any client can compute the cost of an operation offline.

The directives are those of IBM's GraphQL Cost Directive Specification (draft, https://ibm.github.io/graphql-specs/):
`@cost` declares a weight, and `@listSize` declares how long a list can be. A field without a weight costs 1 if it leads
to an object, and 0 if it is a scalar or an enum. The walk (`graph.analysis.walk`) adds up the costs.
"""

import strawberry
from strawberry.schema_directive import Location


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION, Location.INPUT_FIELD_DEFINITION],
    description=(
        "The cost of a field each time it is resolved. Without the directive it is 1 for a field that "
        "returns an object, and 0 for any other field. On an input field: the additional cost if the "
        "input field is given."
    ),
)
class Cost:
    """The weight of a field."""

    weight: str = strawberry.directive_field(name="weight")


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    description="The maximum number of items of the field, or of each of its `sizedFields`.",
)
class ListSize:
    """The length of a list.

    Attributes:
        assumed_size: the length where no slicing argument is given.
        slicing_arguments: the arguments that set the length; the largest one counts.
        sized_fields: the fields below, such as a connection's edges and nodes, whose lists have this length.
        require_one_slicing_argument: whether exactly one slicing argument must be given.
    """

    assumed_size: int | None = strawberry.directive_field(name="assumedSize", default=strawberry.UNSET)
    slicing_arguments: list[str] | None = strawberry.directive_field(name="slicingArguments", default=strawberry.UNSET)
    sized_fields: list[str] | None = strawberry.directive_field(name="sizedFields", default=strawberry.UNSET)
    require_one_slicing_argument: bool = strawberry.directive_field(name="requireOneSlicingArgument", default=True)


# The key in a field's metadata for the maximum number of characters of its text. Only long texts have it.
LONGEST_METADATA = "longest"

PAGE_SIZE_DEFAULT = 20

# The directives of this schema's fields, each named for the reason of its cost.
PAGE = ListSize(
    assumed_size=PAGE_SIZE_DEFAULT,
    slicing_arguments=["first", "last"],
    sized_fields=["edges", "nodes"],
    require_one_slicing_argument=False,
)
COUNT = Cost(weight="10")  # reads every row of the list
STATEMENT = Cost(weight="30")  # reads every entry of the account up to its end, two or three times
WRITE = Cost(weight="10")  # a transaction: locks, a commit
PASSWORD = Cost(weight="100")  # a password is hashed
SEARCH = Cost(weight="50")  # may read every post that contains the words
LONG_TEXT = Cost(weight="10")  # may be as long as hundreds of other values
FREE = Cost(weight="0")  # its value is known already
