"""What one field weighs, by what the schema says of it: cost, values, and bytes of the answer."""

from typing import NamedTuple, TypeVar

from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLInputField,
    GraphQLNamedType,
    get_named_type,
    is_composite_type,
    is_enum_type,
)
from strawberry.types.field import StrawberryField

from graph.analysis.cost import LONGEST_METADATA, Cost

# A character of JSON takes at most six bytes: a control character is written \u001f.
CHARACTER_BYTES_MAX = 6
# Of a text whose length nobody declares: a title, a name, a cursor, a message.
TEXT_BYTES = 1_500
# Of everything else that stands in an answer: numbers, ids, instants, enum values.
LEAF_BYTES = 64
# A key's quotes, its colon and a comma, and the braces of an object.
PUNCTUATION_BYTES = 6
TEXTS = frozenset({"String"})

# How many items the lists of an introspection have, about. They read no row and cost nothing; their values count.
INTROSPECTED = {
    "types": 120,
    "fields": 10,
    "args": 3,
    "inputFields": 6,
    "enumValues": 6,
    "possibleTypes": 8,
    "interfaces": 2,
    "directives": 8,
    "locations": 20,
}

D = TypeVar("D")


class Load(NamedTuple):
    """What a part of an operation weighs.

    Attributes:
        values: how many objects and leaves it has in the answer.
        bytes: how long it is in the answer.
    """

    cost: int = 0
    values: int = 0
    bytes: int = 0

    def plus(self, other: "Load") -> "Load":
        """Return the load of both."""
        return Load(self.cost + other.cost, self.values + other.values, self.bytes + other.bytes)

    def times(self, length: int) -> "Load":
        """Return the load of so many."""
        return Load(self.cost * length, self.values * length, self.bytes * length)


NOTHING = Load()


def own_load(node: FieldNode, definition: GraphQLField) -> Load:
    """Return what one value of a field weighs, without what is below it."""
    key = node.alias.value if node.alias else node.name.value
    target = get_named_type(definition.type)
    content = 0 if is_composite_type(target) else _leaf_bytes(target, definition)
    return Load(_weight(target, definition), 1, len(key) + PUNCTUATION_BYTES + content)


def _weight(target: GraphQLNamedType, definition: GraphQLField) -> int:
    if target.name.startswith("__"):
        return 0  # introspection reads no row
    cost = declared(definition, Cost)
    return int(cost.weight) if cost else int(is_composite_type(target))


def _leaf_bytes(target: GraphQLNamedType, definition: GraphQLField) -> int:
    if is_enum_type(target) or target.name not in TEXTS:
        return LEAF_BYTES
    found = _strawberry_field(definition)
    longest = None if found is None else found.metadata.get(LONGEST_METADATA)
    return TEXT_BYTES if longest is None else CHARACTER_BYTES_MAX * int(longest)


def declared(definition: GraphQLField | GraphQLInputField, directive: type[D]) -> D | None:
    """Return the field's directive of this kind, or None."""
    found = _strawberry_field(definition)
    return None if found is None else next((one for one in found.directives if isinstance(one, directive)), None)


def _strawberry_field(definition: GraphQLField | GraphQLInputField) -> StrawberryField | None:
    found = (definition.extensions or {}).get("strawberry-definition")
    return found if isinstance(found, StrawberryField) else None
