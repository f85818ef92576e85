"""`schema.graphql` is a reviewed artefact: these tests walk it, and every rule has one list of its exceptions."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
    build_schema,
    find_breaking_changes,
    get_named_type,
    get_nullable_type,
    is_introspection_type,
    is_list_type,
    is_specified_scalar_type,
    print_schema,
)
from typer.testing import CliRunner

from db.repositories.row_tables import TABLE_OF
from graph.analysis.field_facts import is_row_backed
from graph.cli.app import app
from graph.schema.mutation_kit import RIGHT
from graph.schema.root import graphql_schema, schema_text

ROOT = Path(__file__).parents[3]
PROMISES = Path(__file__).with_name("contract.graphql")

# Lists in responses that are no connections, each with the reason why it cannot grow without a limit.
BOUNDED_LISTS: Mapping[str, str] = {
    "TransfersPayload.results": "as long as the list that was sent, of at most 1,000",
    "Query.nodes": "as long as the list of ids that was sent, of at most 100",
    "PaginatedPosts.posts": "one page, of at most 100",
    "CreateUsersPayload.users": "as long as the list that was sent, of at most 100",
    "CreatePostsPayload.posts": "as long as the list that was sent, of at most 100",
    "UserError.field": "a path into the arguments, which are as deep as the schema",
}
# Payloads without `userErrors`, each with the reason why the mutation cannot be refused.
NEVER_REFUSED: Mapping[str, str] = {"SignOutPayload": "signing out of an ended session has the same result"}


def named_types(schema: GraphQLSchema) -> Iterator[GraphQLNamedType]:
    """Yield every type that the project defines."""
    for type_ in schema.type_map.values():
        if not is_introspection_type(type_) and not is_specified_scalar_type(type_):
            yield type_


def output_fields() -> Iterator[tuple[str, GraphQLField]]:
    """Yield every output field, as `Type.field`."""
    for type_ in named_types(graphql_schema):
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            for name, field in type_.fields.items():
                yield f"{type_.name}.{name}", field


def arguments() -> Iterator[tuple[str, GraphQLArgument]]:
    """Yield every argument of a field, as `Type.field(argument)`.

    Strawberry cannot describe the arguments of directives; the specification that `graph.analysis.cost` names does.
    """
    for coordinate, field in output_fields():
        for name, argument in field.args.items():
            yield f"{coordinate}({name})", argument


def input_fields() -> Iterator[tuple[str, GraphQLInputField]]:
    """Yield every input field, as `Input.field`."""
    for type_ in named_types(graphql_schema):
        if isinstance(type_, GraphQLInputObjectType):
            for name, field in type_.fields.items():
                yield f"{type_.name}.{name}", field


def enum_values() -> Iterator[tuple[str, str | None]]:
    """Yield every value of an enum with its description, as `Enum.VALUE`."""
    for type_ in named_types(graphql_schema):
        if isinstance(type_, GraphQLEnumType):
            for name, value in type_.values.items():
                yield f"{type_.name}.{name}", value.description


def mutations() -> dict[str, GraphQLField]:
    assert graphql_schema.mutation_type is not None
    return dict(graphql_schema.mutation_type.fields)


def test_the_table_of_every_row_backed_type_is_known() -> None:
    """Snapshots lock these tables against migrations."""
    types = [one for one in graphql_schema.type_map.values() if isinstance(one, GraphQLObjectType)]
    within_others = {"StatementEntry": "the statement it belongs to names the table"}
    unknown = [one.name for one in types if is_row_backed(one) and one.name not in TABLE_OF.keys() | within_others]
    assert unknown == [], (
        f"name {unknown} as their models in db/models are named, or say in TABLE_OF of db/repositories/row_tables.py "
        "which table their rows come from"
    )


# ---------------------------------------------------------------- the artefact


def test_the_schema_in_the_repository_is_the_served_one() -> None:
    kept = (ROOT / "schema.graphql").read_text(encoding="utf-8")
    assert kept == schema_text(), "write schema.graphql with `make schema`, and review the change"


def test_the_schema_in_the_repository_is_one_that_other_tools_can_read() -> None:
    read = build_schema((ROOT / "schema.graphql").read_text(encoding="utf-8"))
    assert find_breaking_changes(read, graphql_schema) == []
    assert find_breaking_changes(graphql_schema, read) == []


def test_no_promise_to_clients_is_broken() -> None:
    promised = build_schema(PROMISES.read_text(encoding="utf-8"))
    assert [change.description for change in find_breaking_changes(promised, graphql_schema)] == []


def test_the_schema_has_the_descriptions_of_the_contract() -> None:
    promised = build_schema(PROMISES.read_text(encoding="utf-8"))
    scalars = {"DateTime", "Decimal", "UUID", "CurrencyCode"}
    words = {name: promised.type_map[name].description or "" for name in scalars}
    beginnings = {name: (graphql_schema.type_map[name].description or "")[: len(words[name])] for name in scalars}
    assert beginnings == words  # the schema may have more
    assert all(words.values())


# ---------------------------------------------------------------- descriptions


def descriptions() -> Iterator[tuple[str, str | None]]:
    """Yield everything that the project names, with its description."""
    yield "the schema", graphql_schema.description
    for type_ in named_types(graphql_schema):
        yield type_.name, type_.description
    for coordinate, field in output_fields():
        yield coordinate, field.description
    for coordinate, argument in arguments():
        yield coordinate, argument.description
    for coordinate, input_field in input_fields():
        yield coordinate, input_field.description
    for directive in graphql_schema.directives:
        yield f"@{directive.name}", directive.description
    yield from enum_values()


def test_everything_has_a_description_that_ends_like_a_sentence() -> None:
    described = list(descriptions())
    silent = [name for name, description in described if not (description or "").endswith(".")]
    assert silent == [], f"describe each of {silent} by a sentence that ends with a full stop"
    assert len(described) > len(graphql_schema.type_map)


# ---------------------------------------------------------------- defaults

DEFAULTS = {
    "Query.postsPage(page)": 1,
    "Query.postsPage(pageSize)": 10,
    "CreatePostInput.published": False,
}


def test_schema_shows_defaults_and_null_is_no_default() -> None:
    inputs: Mapping[str, GraphQLArgument | GraphQLInputField] = {**dict(arguments()), **dict(input_fields())}
    defaults = {name: one.default_value for name, one in inputs.items() if one.default_value is not Undefined}
    assert defaults == DEFAULTS, (
        "add a new default to DEFAULTS in tests/graph/schema/test_schema.py; clients rely on it from now on"
    )
    assert "= null" not in schema_text()


def test_removing_null_as_a_default_is_no_dangerous_change(tmp_path: Path) -> None:
    text = schema_text()
    optional = r"^( +(?:first|after|last|before|filter|gte|lte|lt|expectedVersion): [A-Za-z]+)$"
    old = re.sub(optional, r"\1 = null", text, flags=re.MULTILINE)
    assert old.count("= null") > 20
    file = tmp_path / "old.graphql"
    file.write_text(old, encoding="utf-8")
    result = CliRunner().invoke(app, ["schema", "check", str(file)])
    assert (result.exit_code, result.output) == (0, "safe\n")


# ---------------------------------------------------------------- lists


def is_list(field: GraphQLField) -> bool:
    return is_list_type(get_nullable_type(field.type))


def test_every_list_that_can_grow_is_a_connection() -> None:
    pages = re.compile(r"\w+Connection\.(edges|nodes)|\w+Payload\.userErrors|\w+UserError\.field")
    lists = {name for name, field in output_fields() if is_list(field) and not pages.fullmatch(name)}
    assert sorted(lists - set(BOUNDED_LISTS)) == [], (
        "make these lists connections; where a list cannot grow, say why in BOUNDED_LISTS of "
        "tests/graph/schema/test_schema.py"
    )
    assert sorted(set(BOUNDED_LISTS) - lists) == [], "take these out of BOUNDED_LISTS: the schema has no such list"


def test_every_connection_has_the_four_arguments_and_the_four_fields() -> None:
    for name, field in output_fields():
        target = get_named_type(field.type)
        if target.name.endswith("Connection"):
            assert isinstance(target, GraphQLObjectType)
            assert str(field.type) == f"{target.name}!", name
            given = {argument: str(field.args[argument].type) for argument in ("first", "after", "last", "before")}
            assert given == {"first": "Int", "after": "String", "last": "Int", "before": "String"}, name
            node = target.name.removesuffix("Connection")
            assert {field: str(target.fields[field].type) for field in target.fields} == {
                "edges": f"[{node}Edge!]!",
                "nodes": f"[{node}!]!",
                "pageInfo": "PageInfo!",
                "totalCount": "Int!",
            }


# ---------------------------------------------------------------- mutations


def test_every_mutation_needs_a_signed_in_caller_or_has_a_reason() -> None:
    definitions = {name: field.extensions["strawberry-definition"] for name, field in mutations().items()}
    rights = {
        name: definition.metadata[RIGHT] for name, definition in definitions.items() if RIGHT in definition.metadata
    }
    unguarded = sorted(mutations().keys() - rights.keys())
    assert unguarded == [], f"declare {unguarded} by `mutation(…)` of graph/schema/mutation_kit.py"
    assert all(right.who for right in rights.values())
    assert {name for name, right in rights.items() if right.is_public} == {"signIn", "refreshSession", "createUser"}
    assert {name for name, right in rights.items() if right.admins_alone} == {"createUsers"}


def test_every_mutation_has_one_input_and_a_payload_of_its_own() -> None:
    payloads = [str(field.type) for field in mutations().values()]
    wanted = [f"{name[0].upper()}{name[1:]}Payload!" for name in mutations()]
    assert payloads == wanted, "a mutation `createThing` returns `CreateThingPayload!`, a separate type"
    inputs = {
        name: {arg: str(argument.type) for arg, argument in field.args.items()} for name, field in mutations().items()
    }
    expected = {name: {"input": f"{name[0].upper()}{name[1:]}Input!"} for name in mutations()}
    wrong = sorted(name for name in inputs if inputs[name] != {**expected, "signOut": {}}[name])
    assert wrong == [], f"give each of {wrong} the one argument `input`, as `createThing(input: CreateThingInput!)`"


def test_every_payload_has_errors_of_its_own_type() -> None:
    without = set()
    for field in mutations().values():
        payload = get_named_type(field.type)
        assert isinstance(payload, GraphQLObjectType)
        if "userErrors" not in payload.fields:
            without.add(payload.name)
            continue
        error = get_named_type(payload.fields["userErrors"].type)
        assert isinstance(error, GraphQLObjectType)
        assert str(payload.fields["userErrors"].type) == f"[{error.name}!]!"
        assert [interface.name for interface in error.interfaces] == ["UserError"]
        code = get_named_type(error.fields["code"].type)
        assert isinstance(code, GraphQLEnumType)
        assert code.name == f"{error.name.removesuffix('UserError')}ErrorCode"
        assert str(error.fields["code"].type) == f"{code.name}!"
    assert without == set(NEVER_REFUSED), (
        "name the `codes` in @payload(…); where a mutation is never refused, say why in NEVER_REFUSED of "
        "tests/graph/schema/test_schema.py"
    )


def test_every_field_of_a_payload_but_its_errors_is_nullable() -> None:
    required = {
        f"{payload.name}.{name}"
        for payload in (get_named_type(field.type) for field in mutations().values())
        if isinstance(payload, GraphQLObjectType)
        for name, field in payload.fields.items()
        if name != "userErrors" and str(field.type).endswith("!")
    }
    known = {
        "SignOutPayload.signedOut",
        "DepositPayload.replayed",
        "TransferPayload.replayed",
        "TransfersPayload.results",
    }
    assert sorted(required - known) == [], "make these fields nullable: a refused mutation has nothing to answer there"
    assert known <= required


# ---------------------------------------------------------------- names


def test_names_have_the_case_of_graphql() -> None:
    camel, pascal, upper = (
        re.compile("[a-z][a-zA-Z0-9]*"),
        re.compile("[A-Z][a-zA-Z0-9]*"),
        re.compile("[A-Z][A-Z0-9_]*"),
    )
    fields = [name.partition(".")[2] for name, _ in [*output_fields(), *input_fields()]]
    named_arguments = [name.partition("(")[2].removesuffix(")") for name, _ in arguments()]
    assert [name for name in [*fields, *named_arguments] if not camel.fullmatch(name)] == []
    assert [type_.name for type_ in named_types(graphql_schema) if not pascal.fullmatch(type_.name)] == []
    assert [name for name, _ in enum_values() if not upper.fullmatch(name.partition(".")[2])] == []


def test_names_of_types_have_the_suffix_of_their_kind() -> None:
    for type_ in named_types(graphql_schema):
        assert isinstance(type_, GraphQLInputObjectType) == bool(re.search("(Input|Filter|Order|Range)$", type_.name))
        if isinstance(type_, GraphQLEnumType):
            assert re.search("(OrderField|ErrorCode|Direction|Mode)$", type_.name), type_.name


def test_no_answer_has_a_field_for_a_password_and_nothing_is_called_a_hash() -> None:
    outputs = [name.lower() for name, _ in output_fields()]
    assert [name for name in outputs if "password" in name] == []
    names = [
        *outputs,
        *(name for name, _ in arguments()),
        *(name for name, _ in input_fields()),
        *graphql_schema.type_map,
    ]
    assert [name for name in names if "hash" in name.lower()] == []
    assert "hashed" not in print_schema(graphql_schema)
