"""The whole schema called by Schemathesis over real sockets: every generated call has a well-formed response.

An anonymous caller, a member and an administrator call every root field. Schemathesis's own checks and ours judge each
response; during all of this, another client sends requests to the same server and must be answered.
"""

import asyncio
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.graphql import nodes
from schemathesis.graphql.checks import GraphQLClientError, GraphQLServerError
from schemathesis.schemas import APIOperation

from db.settings import Settings
from graph.schema.root import graphql_schema
from tests.graph.support.callers import Client, Person, SignUp
from tests.graph.support.population import Population, populate
from tests.graph.support.served_app import is_alive
from tests.running.amounts import examples, sample

Operation: TypeAlias = APIOperation[Any, Any, Any, Any]
CallCase: TypeAlias = Case[Operation]

EXAMPLES_PER_FIELD = 8
# 401 if an earlier call has ended the session of the token.
STATUSES = {200, 401}
# Error codes that a valid call may have; none of them is an internal error.
CODES = {"BAD_USER_INPUT", "UNAUTHENTICATED", "FORBIDDEN", "OPERATION_TOO_LARGE", "GRAPHQL_VALIDATION_FAILED"}
ENDING = {"Mutation.signOut"}
# Of the others, most arguments are random texts, which are invalid cursors.
READ = {"Query.node", "Query.nodes", "Query.viewer", "Query.user", "Query.post", "Query.account", "Query.transaction"}
# SQL, a path, a traceback, a Python object or class, a driver: no message contains any of these.
INSIDES = re.compile(
    r"SELECT |INSERT |UPDATE |DELETE FROM|\$\d|\.py\b|(?<!\w)/[a-z]+/[a-z]+|Traceback|File \"|<class|object at 0x"
    r"|asyncpg|psycopg|sqlalchemy|strawberry|graphql\.|[A-Za-z]+(Error|Exception)\b|\bNoneType\b|\bdb\.|\bgraph\.\w"
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings without a cost budget, which would refuse most of the generated requests unread."""
    return settings.model_copy(update={"cost_per_minute_max": 0, "passwords_per_minute_per_address_max": 0})


@pytest.fixture
async def population(client: Client) -> Population:
    return await populate(client.database, 3)


def register_scalars(population: Population, label: str) -> None:
    """Register values for the scalars of the contract with Schemathesis, most of them valid for this root field."""
    rows = {
        "user": population.users,
        "post": population.posts,
        "account": population.accounts,
        "deposit": population.accounts,
        "transfer": population.accounts,
        "transaction": population.transactions,
    }
    others = [*population.users, *population.posts, "post_0", "user_999", "", "é"]
    fitting = next((ids for noun, ids in rows.items() if noun in label.lower()), others)
    ids = st.sampled_from(fitting) | st.sampled_from(fitting) | st.sampled_from(others)
    amounts = st.decimals(min_value=-5, max_value=1000, places=2).map(lambda value: format(value, "f"))
    instants = st.datetimes().map(lambda value: value.isoformat() + "Z")
    currencies = st.sampled_from(["EUR", "JPY", "USD", "XXX", "ZZZ", "eur"])
    for name, strategy in {
        "ID": ids,
        "Decimal": amounts,
        "DateTime": instants | st.just("yesterday"),
        "UUID": st.uuids().map(str),
        "CurrencyCode": currencies,
    }.items():
        schemathesis.graphql.scalar(name, strategy.map(nodes.String))
    # Hardly any random integer is a valid length of a page.
    schemathesis.graphql.scalar("Int", (st.integers(1, 9) | st.integers(-(2**31), 2**31 - 1)).map(nodes.Int))


def root_fields() -> set[str]:
    """Return every root field as `Query.user`."""
    roots = [root for root in (graphql_schema.query_type, graphql_schema.mutation_type) if root is not None]
    return {f"{root.name}.{name}" for root in roots for name in root.fields}


def operations(address: str) -> Iterator[Operation]:
    """Load the schema from the server itself, and yield the operation of each root field."""
    schema = schemathesis.graphql.from_url(f"{address}/graphql", config=SchemathesisConfig())
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        yield found.ok()


def errors_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the errors of a response, and assert their format (GraphQL specification, section 7.1)."""
    assert body.keys() <= {"data", "errors"}
    assert "data" in body or body["errors"]
    assert body.get("errors", True), "errors is empty"
    errors: list[dict[str, Any]] = body.get("errors", [])
    for error in errors:
        assert error.keys() <= {"message", "locations", "path", "extensions"}
        assert isinstance(error["message"], str)
        assert error["extensions"]["code"] in CODES, error
        assert INSIDES.search(error["message"]) is None, error
    return errors


def judge(case: CallCase, response: Response) -> None:
    """Check a response with our checks and Schemathesis's own."""
    assert response.status_code in STATUSES, (response.status_code, response.text, case.body)
    assert response.headers["content-type"] == ["application/json; charset=utf-8"]
    errors = errors_of(response.json())
    try:
        case.validate_response(response, checks=[not_a_server_error])
    except FailureGroup as failures:
        # Schemathesis treats every error as a failure; errors with a code of the contract are responses.
        others = [one for one in failures.exceptions if not isinstance(one, GraphQLServerError | GraphQLClientError)]
        assert (others, bool(errors)) == ([], True)


def explore(operation: Operation, by: Person | None) -> list[str]:
    """Call one root field many times, and return the outcome of each call: `data`, or the codes of its errors."""
    headers = {"authorization": f"Bearer {by.token}"} if by else {}
    answered: list[str] = []

    @hypothesis_settings(
        max_examples=examples(EXAMPLES_PER_FIELD),
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def called(case: CallCase) -> None:
        response = case.call(headers=headers, session=session)
        judge(case, response)
        codes = [error["extensions"]["code"] for error in response.json().get("errors", [])]
        answered.extend(codes or ["data"])

    with requests.Session() as session:
        called()
    return answered


@pytest.mark.parametrize("role", sample(["member", "anonymous", "admin"], every=3))
async def test_no_call_that_the_schema_allows_causes_an_internal_error(
    client: Client, sign_up: SignUp, population: Population, role: str
) -> None:
    found = await asyncio.to_thread(list, operations(str(client.http.base_url)))
    assert {operation.label for operation in found} == root_fields()
    answered: dict[str, set[str]] = {}
    for number, operation in enumerate(found):
        # A new session for each field, because `signOut` and similar fields end it.
        by = None if role == "anonymous" else await sign_up(f"caller{number}", admin=role == "admin")
        register_scalars(population, operation.label)
        exploring = asyncio.create_task(asyncio.to_thread(explore, operation, by))
        while not exploring.done():
            assert await is_alive(client), operation.label
            await asyncio.sleep(0.02)
        answered[operation.label] = set(await exploring)
    # Otherwise every call would have been refused before execution.
    assert {label for label, codes in answered.items() if "data" in codes} >= READ
    assert {"BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"} <= set().union(*answered.values())
    signed_out = {label for label, codes in answered.items() if "UNAUTHENTICATED" in codes}
    assert (signed_out <= ENDING) == (role != "anonymous"), signed_out
