"""Random valid queries of the schema; every field has a unique alias, so that nothing merges."""

from collections.abc import Sequence
from random import Random

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_composite_type,
    is_required_argument,
)

DEPTH_MAX = 7
# By the name of an argument, or by its type.
GIVEN = {
    "from": "2000-01-01T00:00:00Z",
    "to": "2100-01-01T00:00:00Z",
    "UUID": "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e",
    "String": "ada",
}


class OperationMaker:
    """Makes one query after the other from random numbers.

    Args:
        random: the source of all decisions.
        schema: the schema for which the queries are valid.
        ids: the global ids for arguments that need one.
    """

    def __init__(self, random: Random, schema: GraphQLSchema, ids: Sequence[str]) -> None:
        self._random = random
        self._schema = schema
        self._ids = ids
        self._aliases = 0
        self._fragments: list[str] = []

    def query(self) -> str:
        """Return a query, with the fragments that it uses."""
        self._aliases, self._fragments = 0, []
        assert self._schema.query_type is not None
        selection = self._selection(self._schema.query_type, DEPTH_MAX)
        return "\n".join([f"query {selection}", *self._fragments])

    def _selection(self, type_: GraphQLNamedType, depth: int) -> str:
        if isinstance(type_, GraphQLInterfaceType):
            chosen = self._schema.get_possible_types(type_)
            parts = [
                f"... on {one.name} {self._selection(one, depth)}" for one in chosen if self._random.random() < 0.6
            ]
            return "{ __typename " + " ".join(parts) + " }"
        assert isinstance(type_, GraphQLObjectType)
        fields = [
            one for one in type_.fields.items() if depth > 1 or not is_composite_type(get_named_type(one[1].type))
        ]
        taken = self._random.sample(fields, min(len(fields), self._random.randint(1, 4)))
        body = " ".join(["{ __typename", *(self._field(name, field, depth) for name, field in taken), "}"])
        if self._random.random() < 0.2:
            name = f"Fragment{len(self._fragments)}"
            self._fragments.append(f"fragment {name} on {type_.name} {body}")
            return f"{{ ...{name} }}"
        return body

    def _field(self, name: str, field: GraphQLField, depth: int) -> str:
        self._aliases += 1
        target = get_named_type(field.type)
        below = self._selection(target, depth - 1) if is_composite_type(target) else ""
        return f"{name}_{self._aliases}: {name}{self._arguments(field)} {below}"

    def _arguments(self, field: GraphQLField) -> str:
        given = []
        for name, argument in field.args.items():
            target = get_named_type(argument.type).name
            if name == "ids":
                chosen = ", ".join(f'"{self._random.choice(self._ids)}"' for _ in range(self._random.randint(0, 5)))
                given.append(f"ids: [{chosen}]")
            elif target == "ID":
                # `user` requires the id of a user, `node` accepts any id.
                wanted = get_named_type(field.type).name.lower()
                ids = [one for one in self._ids if wanted in {"node", one.partition("_")[0]}] or [f"{wanted}_1"]
                given.append(f'{name}: "{self._random.choice(ids)}"')
            elif is_required_argument(argument):
                given.append(f'{name}: "{GIVEN.get(name) or GIVEN[target]}"')
        if "first" in field.args and self._random.random() < 0.8:
            given.append(f"{self._random.choice(['first', 'last'])}: {self._random.randint(1, 6)}")
        if "pageSize" in field.args and self._random.random() < 0.8:
            given.append(f"pageSize: {self._random.randint(1, 6)}")
        return f"({', '.join(given)})" if given else ""
