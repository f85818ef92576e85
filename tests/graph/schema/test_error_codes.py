"""Each mutation's enum of error codes has exactly the codes that the mutation can be refused with.

A raised code that is missing from the enum would be an unexpected error to the client; one that is never raised would
be an empty promise. The raised codes are read from the source: every code in a function or table that the resolver
reaches by name, and the meanings of the constraints that its statements may violate.
"""

import ast
import importlib
import importlib.util
import inspect
from collections.abc import Iterator, Mapping
from functools import cache

import pytest
from graphql import GraphQLEnumType, GraphQLObjectType, get_named_type
from strawberry.types.field import StrawberryField

from db.constraints import CONSTRAINTS
from graph.schema.mutation_kit import CODES, code
from graph.schema.root import graphql_schema

assert graphql_schema.mutation_type is not None
MUTATIONS: Mapping[str, StrawberryField] = {
    name: field.extensions["strawberry-definition"] for name, field in graphql_schema.mutation_type.fields.items()
}

_PERSON = {name for name in CONSTRAINTS if name.partition("_")[2].startswith(("users", "profiles"))}
_TEXT = {"ck_posts_title_length", "ck_posts_content_length"}
# The constraints that each mutation may violate, with statements that the database refuses.
VIOLATED: Mapping[str, set[str]] = {
    "createUser": _PERSON,
    "createUsers": _PERSON,
    "updateUser": _PERSON,
    "deleteUser": {"fk_accounts_owner_id_users"},
    "createPost": {*_TEXT, "fk_posts_author_id_users"},
    "createPosts": {*_TEXT, "fk_posts_author_id_users"},
    "updatePost": _TEXT,
    "createComment": {"ck_comments_body_length", "fk_comments_author_id_users", "fk_comments_post_id_posts"},
    "updateComment": {"ck_comments_body_length"},
}

# Codes that a mutation reaches in the source but never returns, each with the reason.
NEVER: Mapping[str, Mapping[str, str]] = {
    "signIn": {"INVALID_PASSWORD": "of the password's specification only the greatest length is asked"},
    "deleteUser": {"VERSION_CONFLICT": "no version is expected"},
    "deposit": {
        "SAME_ACCOUNT": "the other account is the system's, into which nothing is deposited",
        "CURRENCY_MISMATCH": "the system's account is the one of the receiving account's currency",
        "INSUFFICIENT_FUNDS": "the balance of the system's account may be negative",
    },
}

Place = tuple[str, str]
# What a resolver reaches by a method of its context, and not by name.
BY_METHOD: Mapping[str, set[Place]] = {"transfer": {("db.ledger.settlement", "settle")}}
# They hold codes of every mutation. What one mutation may violate stands in VIOLATED.
TABLES: set[Place] = {("db.constraints", "CONSTRAINTS"), ("graph.schema.mutation_kit", "CODES")}


def codes_of(mutation: str) -> set[str]:
    """Return the codes of the mutation's own enum; none if its payload has no `userErrors`."""
    assert graphql_schema.mutation_type is not None
    payload = get_named_type(graphql_schema.mutation_type.fields[mutation].type)
    assert isinstance(payload, GraphQLObjectType)
    if "userErrors" not in payload.fields:
        return set()
    error = get_named_type(payload.fields["userErrors"].type)
    assert isinstance(error, GraphQLObjectType)
    enum = get_named_type(error.fields["code"].type)
    assert isinstance(enum, GraphQLEnumType)
    return set(enum.values)


# ---------------------------------------------------------------- what a resolver reaches by name


@cache
def definitions_of(module: str) -> dict[str, ast.stmt]:
    """Return the functions and tables that a module defines, by name."""
    found: dict[str, ast.stmt] = {}
    for statement in ast.parse(inspect.getsource(importlib.import_module(module))).body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            found[statement.name] = statement
        elif isinstance(statement, ast.Assign):
            found |= {target.id: statement for target in statement.targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found[statement.target.id] = statement
    return found


@cache
def is_a_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@cache
def imports_of(module: str) -> dict[str, Place]:
    """Return the origins of the names that a module imports from `db` and `graph`; a whole module has no name."""
    found = {}
    for node in ast.walk(ast.parse(inspect.getsource(importlib.import_module(module)))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in {"db", "graph"}:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                is_module = is_a_module(whole)
                found[name.asname or name.name] = (whole, "") if is_module else (node.module or "", name.name)
    return found


def named_in(place: Place) -> Iterator[Place]:
    """Yield every function and table that the definition at `place` names."""
    module, name = place
    imports = imports_of(module)
    for node in ast.walk(definitions_of(module)[name]):
        if isinstance(node, ast.Name):
            yield imports.get(node.id, (module, node.id))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            source, whole = imports.get(node.value.id, ("", "-"))
            if not whole:
                yield source, node.attr


def codes_in(place: Place) -> Iterator[str]:
    """Yield every code in the definition at `place`, given directly or as the meaning of a constraint."""
    for node in ast.walk(definitions_of(place[0])[place[1]]):
        if isinstance(node, ast.Constant) and node.value in CONSTRAINTS:
            yield CONSTRAINTS[str(node.value)].code
        elif isinstance(node, ast.Constant) and node.value in CODES:
            yield str(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refusal":
            # This constraint may be in no table.
            yield from (str(code.value) for code in node.args[:1] if isinstance(code, ast.Constant))


def reached(resolver: Place) -> set[Place]:
    found, pending = {resolver}, [resolver]
    while pending:
        for place in named_in(pending.pop()):
            if place not in found | TABLES and place[1] in definitions_of(place[0]):
                found.add(place)
                pending.append(place)
    return found


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_is_refused_with_the_codes_of_its_enum_and_no_others(mutation: str) -> None:
    resolver = MUTATIONS[mutation].base_resolver
    assert resolver is not None
    places = reached((resolver.wrapped_func.__module__, resolver.wrapped_func.__name__))
    places |= {place for method in BY_METHOD.get(mutation, ()) for place in reached(method)}
    raised = {code for place in places for code in codes_in(place)}
    violated = {CONSTRAINTS[name].code for name in VIOLATED.get(mutation, ())}
    refused_with, enum = (raised | violated) - NEVER.get(mutation, {}).keys(), codes_of(mutation)
    assert sorted(refused_with - enum) == [], (
        f"add these to the error codes of {mutation}, which can be refused with them; or say in NEVER of "
        "tests/graph/schema/test_error_codes.py why it never is"
    )
    assert sorted(enum - refused_with) == [], (
        f"nothing that {mutation} calls raises these codes of its enum: take them out, or, where a constraint of the "
        "database raises them, add the constraint to VIOLATED of tests/graph/schema/test_error_codes.py"
    )


def test_every_constraint_with_a_meaning_for_clients_is_violated_by_some_mutation() -> None:
    violated = set().union(*VIOLATED.values())
    assert sorted(set(CONSTRAINTS) - violated) == [], (
        "say in VIOLATED of tests/graph/schema/test_error_codes.py which mutation may violate each of these "
        "constraints, or move them to INTERNAL of db/constraints.py"
    )
    assert sorted(violated - set(CONSTRAINTS)) == []


def test_the_one_table_has_every_code_of_the_schema_and_no_others() -> None:
    used = {code for mutation in MUTATIONS for code in codes_of(mutation)}
    assert sorted(set(CODES) - used) == [], (
        "no mutation has these codes of CODES in graph/schema/mutation_kit.py: take them out"
    )
    assert sorted(used - set(CODES)) == [], "say in CODES of graph/schema/mutation_kit.py what they are"


def test_a_code_has_the_same_description_in_every_enum() -> None:
    enums = [enum for name, enum in graphql_schema.type_map.items() if name.endswith("ErrorCode")]
    described = {
        (code, value.description)
        for enum in enums
        if isinstance(enum, GraphQLEnumType)
        for code, value in enum.values.items()
    }
    assert described == set(CODES.items())


def test_error_for_a_code_without_a_description_names_the_table() -> None:
    with pytest.raises(LookupError, match=r"^say what NEVER_HEARD_OF means in CODES of graph/schema/mutation_kit\.py$"):
        code("NEVER_HEARD_OF")
