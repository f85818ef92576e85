"""Strings with a meaning in SQL, and ids of other users' objects, at every place that accepts one."""

from collections.abc import Sequence
from typing import Any

import pytest

from db.connections.leases import Driver
from db.query.text_search import search_query
from graph.schema.root import graphql_schema
from tests.graph.support.argument_walk import fresh_key, operation, places
from tests.graph.support.callers import Client, SignUp
from tests.graph.support.rights_data import ANNA, OTTO, RightsData, create_rights_data
from tests.graph.support.served_app import is_alive
from tests.running.amounts import share

STRINGS: Sequence[str] = share(
    (
        "' OR 1=1 --",
        '"; DROP TABLE users; --',
        "'; DELETE FROM posts; SELECT '",
        "%",
        "_",
        "\\",
        "\\' OR ''='",
        "$1",
        ":id",
        "{}",
        "%(id)s",
        "user_1 OR 1=1",
        "\u2019 OR 1=1",
    ),
    every=3,
)


@pytest.fixture
async def rights_data(client: Client, sign_up: SignUp, superuser: Driver) -> RightsData:
    """The stage of the tests of rights."""
    return await create_rights_data(client, sign_up, superuser)


def foreign_value(name: str, scalar: str) -> Any:
    """Return a required value: an id of an object that Otto may neither see nor change."""
    if scalar == "ID":
        by_name = {"postId": "post_2", "fromAccountId": "account_1", "toAccountId": "account_3"}
        return by_name.get(name, "account_1" if "account" in name.lower() else "post_2")
    given = {"UUID": fresh_key(), "CurrencyCode": "EUR", "Decimal": "1.00", "Int": 1, "Boolean": True}
    return given.get(scalar, f"filled_{name}")


def codes(body: dict[str, Any]) -> set[str]:
    return {error["extensions"]["code"] for error in body.get("errors", ())}


TEXT_PLACES = list(places(graphql_schema, "String", "ID", "UUID", "CurrencyCode", "Decimal", "DateTime"))


async def test_sql_in_any_string_of_a_query_finds_and_changes_nothing(rights_data: RightsData) -> None:
    before = await rights_data.dump()
    for place in TEXT_PLACES:
        if place.kind != "query":
            continue
        for text in STRINGS:
            query, variables = operation(graphql_schema, place, text, foreign_value)
            body = await rights_data.run(query, ANNA, **variables)
            assert codes(body) <= {"BAD_USER_INPUT"}, (str(place), text, body)
            # A search without a word is ignored: Anna finds the posts that she may see.
            if codes(body) or (place.path[-1] == "search" and search_query(text) is None):
                continue
            assert found(body["data"][place.field]) == 0, (str(place), text, body)
    assert await rights_data.dump() == before
    assert await is_alive(rights_data.client)


def found(value: Any) -> int:
    """Return how many rows a query found: a connection's total, a list's length."""
    if isinstance(value, dict):
        counts = [value[name] for name in ("totalCount", "total") if name in value]
        return int(counts[0]) if counts else 1
    return 0 if value is None else len(value)


async def test_sql_in_any_string_of_a_mutation_is_a_string(rights_data: RightsData) -> None:
    before = await rights_data.dump()
    for place in TEXT_PLACES:
        if place.kind != "mutation":
            continue
        for text in STRINGS:
            mutation, variables = operation(graphql_schema, place, text, foreign_value)
            body = await rights_data.run(mutation, OTTO, **variables)
            assert codes(body) <= {"BAD_USER_INPUT", "FORBIDDEN", "UNAUTHENTICATED"}, (str(place), text, body)
    after = await rights_data.dump()
    # Some mutations created rows with exactly these strings; earlier rows are unchanged.
    assert {table: set(rows) - set(after[table]) for table, rows in before.items()} == {
        table: set() for table in before
    }
    titles = await rights_data.superuser.fetch("SELECT title FROM posts WHERE id > 2")
    assert {title for (title,) in titles} >= set(STRINGS)
    assert await is_alive(rights_data.client)


# Every user may pay into any account, so that the existence of accounts is public.
ID_PLACES = [place for place in places(graphql_schema, "ID") if place.path[-1] != "toAccountId"]
# Objects that belong only to Ida or Ada, and objects that do not exist.
SECRETS = {"post_2": "post_999", "account_1": "account_999", "transaction_1": "transaction_999"}
# Users are public, but a user cannot change another.
SECRETS_OF_MUTATIONS = SECRETS | {"user_3": "user_999"}


def own_value(name: str, scalar: str) -> Any:
    """Return a required value: an id of Otto's own object."""
    return "account_2" if scalar == "ID" else foreign_value(name, scalar)


async def test_id_of_another_users_object_is_treated_as_missing(rights_data: RightsData) -> None:
    before = await rights_data.dump()
    for place in ID_PLACES:
        for secret, nobodys in (SECRETS if place.kind == "query" else SECRETS_OF_MUTATIONS).items():
            of_secret, of_nothing = [
                await rights_data.run(query, OTTO, **variables)
                for query, variables in (operation(graphql_schema, place, id_, own_value) for id_ in (secret, nobodys))
            ]
            assert str(of_secret).replace(secret, nobodys) == str(of_nothing), str(place)
    after = await rights_data.dump()
    # A refusal is stored under its key.
    del before["idempotency_keys"], after["idempotency_keys"]
    assert after == before
