"""Documents that never run: refused before execution, without `data`, each with a description of its errors."""

from typing import Any

import pytest

from db.connections.leases import Driver
from db.settings import Settings
from tests.graph.support.callers import Client, SignUp
from tests.graph.support.rights_data import dump
from tests.graph.support.served_app import served

NEWER = {"accept": "application/graphql-response+json"}
CREATE_USER = (
    'mutation %s { createUser(input: {email: "%s@example.com", username: "%s", password: "a long enough one"}) '
    "{ user { username } } }"
)
NUL_WITHIN = """mutation {
  createUser(input: {username: "ada", password: "a long enough one", email:
    LITERAL}) { user { id } } }"""


def refused(code: str, *errors: tuple[str, int, int]) -> tuple[int, dict[str, Any]]:
    """Return status and body of the refusal with these errors, each with its line and column."""
    shown = [
        {"message": message, "locations": [{"line": line, "column": column}], "extensions": {"code": code}}
        for message, line, column in errors
    ]
    return 400, {"errors": shown}


def invalid(*errors: tuple[str, int, int]) -> tuple[int, dict[str, Any]]:
    return refused("GRAPHQL_VALIDATION_FAILED", *errors)


def unresolved(message: str) -> tuple[int, dict[str, Any]]:
    return 400, {"errors": [{"message": message, "extensions": {"code": "OPERATION_RESOLUTION_FAILURE"}}]}


async def run(client: Client, query: str, name: str | None = None, **variables: Any) -> tuple[int, dict[str, Any]]:
    body = {"query": query, "operationName": name, "variables": variables}
    response = await client.http.post("/graphql", json=body, headers=NEWER)
    return response.status_code, response.json()


# ---------------------------------------------------------------- which operation


async def test_several_operations_without_a_name_are_refused_and_write_nothing(
    client: Client, superuser: Driver
) -> None:
    before = await dump(superuser)
    document = CREATE_USER % ("First", "ada", "ada") + CREATE_USER % ("Second", "bob", "bob")
    message = "the document has several operations; set operationName to one of them: First, Second"
    assert await run(client, document) == unresolved(message)
    for name in ("Third", "first", "", "First "):
        message = f'operationName is "{name}", which the document does not have; it has First, Second'
        assert await run(client, document, name) == unresolved(message)
    assert await dump(superuser) == before


async def test_only_the_named_operation_runs(client: Client, superuser: Driver) -> None:
    document = CREATE_USER % ("First", "ada", "ada") + CREATE_USER % ("Second", "bob", "bob")
    assert await run(client, document, "Second") == (200, {"data": {"createUser": {"user": {"username": "bob"}}}})
    assert await superuser.fetchval("SELECT string_agg(username, ',') FROM users WHERE id > 1") == "bob"


async def test_name_for_an_operation_without_one_is_refused(client: Client) -> None:
    message = 'operationName is "A", which the document does not have; its operation has no name'
    assert await run(client, "{ __typename }", "A") == unresolved(message)


async def test_unnamed_operation_next_to_another_is_refused_and_writes_nothing(
    client: Client, superuser: Driver
) -> None:
    before = await dump(superuser)
    document = CREATE_USER % ("", "ada", "ada") + " query Other { __typename }"
    alone = "This anonymous operation must be the only defined operation."
    assert await run(client, document, "Other") == invalid((alone, 1, 1))
    assert await dump(superuser) == before


async def test_two_operations_of_one_name_are_refused(client: Client) -> None:
    status, body = await run(client, "query A { __typename } query A { __typename }", "A")
    locations = [{"line": 1, "column": 7}, {"line": 1, "column": 30}]
    assert (status, body["errors"][0]["locations"]) == (400, locations)
    assert body["errors"][0]["message"] == "There can be only one operation named 'A'."


# ---------------------------------------------------------------- documents


async def test_syntax_error_is_refused_with_its_position(client: Client) -> None:
    wrong = {
        " ": ("Syntax Error: Unexpected <EOF>.", 1, 2),
        "# only a comment": ("Syntax Error: Unexpected <EOF>.", 1, 17),
        "{": ("Syntax Error: Expected Name, found <EOF>.", 1, 2),
        "{ __typename }\n}": ("Syntax Error: Unexpected '}'.", 2, 1),
        '{ user(id: "user_1) { id } }': ("Syntax Error: Unterminated string.", 1, 29),
        '{ user(id: "\\ud800") { id } }': ("Syntax Error: Invalid Unicode escape sequence: '\\ud800'.", 1, 13),
        "{ __typename }\0": ("Syntax Error: Unexpected character: U+0000.", 1, 15),
        "{a" * 5000: ("Syntax Error: Document is nested too deeply. Parsing aborted.", 1, 401),
        "{" + "a " * 10_000 + "}": (
            "Syntax Error: Document contains more than 10000 tokens. Parsing aborted.",
            1,
            20_000,
        ),
    }
    for document, error in wrong.items():
        assert (document, await run(client, document)) == (document, refused("GRAPHQL_PARSE_FAILED", error))


async def test_invalid_document_is_refused_with_its_errors(client: Client) -> None:
    wrong = {
        "fragment F on Query { __typename }": ("Fragment 'F' is never used.", 1, 1),
        "{ ...F }": ("Unknown fragment 'F'.", 1, 6),
        "{ ...F } fragment F on Query { ...F }": ("Cannot spread fragment 'F' within itself.", 1, 32),
        "{ __typename @nope }": ("Unknown directive '@nope'.", 1, 14),
        "{ __typename @skip }": (
            "Argument '@skip(if:)' of type 'Boolean!' is required, but it was not provided.",
            1,
            14,
        ),
        "{ nope }": ("Cannot query field 'nope' on type 'Query'. Did you mean 'node' or 'nodes'?", 1, 3),
        "query ($x: Int) { __typename }": ("Variable '$x' is never used.", 1, 8),
        "type Extra { id: ID }": ("The 'Extra' definition is not executable.", 1, 1),
        "subscription { posts }": ("Cannot query field 'posts' on type 'Subscription'.", 1, 16),
    }
    for document, error in wrong.items():
        assert (document, await run(client, document)) == (document, invalid(error))


async def test_fragments_that_spread_each_other_in_a_circle_are_refused(client: Client) -> None:
    document = "{ ...F } fragment F on Query { ...G } fragment G on Query { ...F }"
    status, body = await run(client, document)
    assert (status, [error["message"] for error in body["errors"]]) == (
        400,
        ["Cannot spread fragment 'F' within itself via 'G'."],
    )


async def test_string_that_holds_a_nul_is_refused_however_it_is_written(client: Client, superuser: Driver) -> None:
    before = await dump(superuser)
    message = "a string contains the character U+0000, which is not allowed in text"
    for literal in ('"a\0b"', '"a\\u0000b"', '"a\\u{0}b"', '"""a\0b"""'):
        document = NUL_WITHIN.replace("LITERAL", literal)
        assert await run(client, document) == invalid((message, 3, 5))
    default = 'query ($name: String! = "\\u0000") { userByUsername(username: $name) { id } }'
    assert await run(client, default) == invalid((message, 1, 25))
    assert await dump(superuser) == before


async def test_no_more_than_twenty_errors_of_a_document_are_reported(client: Client) -> None:
    status, body = await run(client, "{" + " ".join(f"nope{number}" for number in range(400)) + "}")
    assert (status, len(body["errors"])) == (400, 21)
    too_many = "Too many validation errors, error limit reached. Validation aborted."
    assert body["errors"][-1] == {"message": too_many, "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}


# ---------------------------------------------------------------- variables


async def test_variables_that_do_not_fit_are_refused(client: Client) -> None:
    document = "query ($first: Int!) { posts(first: $first) { totalCount } }"
    missing = "Expected a value of non-null type 'Int!' to be provided."
    too_large = "Int cannot represent non 32-bit signed integer value: 2147483648"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, missing),
        ({"First": 1}, missing),
        ({"first": None}, "Expected value of non-null type 'Int!' not to be null."),
        ({"first": "1"}, 'Int cannot represent non-integer value: "1"'),
        ({"first": 1.5}, "Int cannot represent non-integer value: 1.5"),
        ({"first": True}, "Int cannot represent non-integer value: true"),
        (
            {"first": [1, None, "a", {"b": False}]},
            'Int cannot represent non-integer value: [1, null, "a", {"b": false}]',
        ),
        ({"first": 2**31}, too_large),
    ]
    for variables, what in wrong:
        error = (f"Variable '$first' has invalid value: {what}", 1, 8)
        assert await run(client, document, **variables) == refused("BAD_USER_INPUT", error)


async def test_wrong_variable_of_a_later_field_is_refused_before_an_earlier_one_runs(
    client: Client, sign_up: SignUp, superuser: Driver
) -> None:
    ada = await sign_up("ada")
    before = await dump(superuser)
    document = """mutation ($title: String!) {
      createPost(input: {title: "One", content: ""}) { post { id } }
      again: createPost(input: {title: $title, content: ""}) { post { id } }
    }"""
    response = await client.http.post(
        "/graphql",
        json={"query": document, "variables": {"title": 5}},
        headers={**NEWER, "authorization": f"Bearer {ada.token}"},
    )
    message = "Variable '$title' has invalid value: String cannot represent a non string value: 5"
    assert (response.status_code, response.json()) == refused("BAD_USER_INPUT", (message, 1, 11))
    assert await dump(superuser) == before


async def test_field_that_the_input_does_not_have_is_refused(client: Client) -> None:
    document = "mutation ($input: DeletePostInput!) { deletePost(input: $input) { deletedPostId } }"
    message = (
        "Variable '$input' has invalid value: Expected value of type 'DeletePostInput' not to include unknown field "
        "'force'."
    )
    body = await run(client, document, input={"id": "post_1", "force": True})
    assert body == refused("BAD_USER_INPUT", (message, 1, 11))


async def test_undeclared_variables_are_ignored(client: Client) -> None:
    document = "query ($first: Int) { posts(first: $first) { totalCount } }"
    assert await run(client, document, first=1, second=2) == (200, {"data": {"posts": {"totalCount": 0}}})


SIGN_IN = "mutation ($input: SignInInput!) { signIn(input: $input) { accessToken } }"


@pytest.mark.parametrize("suggestions", [True, False])
@pytest.mark.parametrize(
    ("given", "message", "suggestion"),
    [
        ({"login": "ada", "pasword": "secret", "password": "s"}, " not to include unknown field 'pasword'", "password"),
        ({"password": "secret"}, " to include required field 'login'", None),
        ({"login": "ada", "password": "secret", "x, found: {": 1}, " not to include unknown field 'x", None),
    ],
)
async def test_refused_input_is_not_repeated_to_its_sender(
    settings: Settings, given: dict[str, str], message: str, suggestion: str | None, *, suggestions: bool
) -> None:
    async with served(settings, suggestions=suggestions) as client:
        _, body = await run(client, SIGN_IN, input=given)
    [error] = body["errors"]
    hint = f" Did you mean '{suggestion}'?" if suggestion and suggestions else ""
    expected = f"Variable '$input' has invalid value: Expected value of type 'SignInInput'{message}"
    assert (error["message"].removesuffix("."), "secret" in str(body)) == (
        f"{expected}.{hint}".removesuffix("."),
        False,
    )


async def test_refused_input_in_the_document_is_not_repeated_to_its_sender(client: Client) -> None:
    document = 'mutation { signIn(input: {login: "ada", password: "secret", x: 1}) { accessToken } }'
    _, body = await run(client, document)
    messages = [error["message"] for error in body["errors"]]
    assert messages == ["Expected value of type 'SignInInput' not to include unknown field 'x'."]


async def test_password_of_another_type_is_not_repeated_to_its_sender(client: Client) -> None:
    message = "String cannot represent a non string value."
    _, body = await run(client, SIGN_IN, input={"login": "ada", "password": 12345678})
    in_path = [error["message"] for error in body["errors"]]
    document = (
        'mutation ($newPassword: String!) { signIn(input: {login: "ada", password: $newPassword}) { accessToken } }'
    )
    _, body = await run(client, document, newPassword=["secret"])
    in_name = [error["message"] for error in body["errors"]]
    assert in_path == [f"Variable '$input' has invalid value at .password: {message}"]
    assert in_name == [f"Variable '$newPassword' has invalid value: {message}"]


@pytest.mark.parametrize(("document", "column"), [("query { }", 9), ("{}", 2), ("{ users { } }", 11)])
async def test_empty_selection_set_is_a_syntax_error(client: Client, document: str, column: int) -> None:
    expected = refused("GRAPHQL_PARSE_FAILED", ("Syntax Error: Expected Name, found '}'.", 1, column))
    assert await run(client, document) == expected
