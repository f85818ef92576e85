"""The price is right for any variables: floats, exponents, strings, lists, nulls, defaults, missing ones."""

from dataclasses import dataclass

import orjson
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from db.seed.seeding import SeedPlan, seed
from db.settings import Settings
from tests.graph.support.bodies import JSON
from tests.graph.support.callers import Client
from tests.running.amounts import examples

# More than the default page of 20.
PLAN = SeedPlan(users=40, posts=160, accounts=8, transfers_per_account=3)

# JSON of values for variables, most of them odd.
NUMBERS = ("7", "30", "30.0", "3e1", "300e-1", "7.0000000000000000000001", "12.5", "-1", "0", "-0.0", "1e400", "1e2")
OTHERS = ('"12"', '"all"', "true", "false", "null", "[12]", "[[12]]", "[]", "[null]", '{"n": 12}', "2147483648", "1e30")
ODD = st.sampled_from(NUMBERS + OTHERS)
TYPES = ("Int", "Int!", "Int = 3", "Int = null", "Int! = 12")
IDS = (
    '"user_1"',
    '["user_1", "user_2", "post_1"]',
    '["user_1", null]',
    "[]",
    '[["user_1"]]',
    "null",
    "1",
    '["user_1.0"]',
)
LEAVES = {"User": "id username", "Post": "id title views", "Node": "id"}


@dataclass
class Document:
    """A document with variables, and their JSON."""

    text: str
    variables: str


class DocumentMaker:
    """Makes one query of nested lists whose lengths are variables, each with a different type and value."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._declared: list[str] = []
        self._given: list[str] = []

    def document(self) -> Document:
        roots = " ".join(self._root(number) for number in range(self._draw(st.integers(1, 2))))
        return Document(f"query ({', '.join(self._declared)}) {{ {roots} }}", f"{{{', '.join(self._given)}}}")

    def _root(self, number: int) -> str:
        kind = self._draw(st.sampled_from(["users", "posts", "postsPage", "nodes"]))
        if kind == "postsPage":
            return f"r{number}: postsPage(pageSize: {self._length()}) {{ total posts {{ {self._below('Post', 2)} }} }}"
        if kind == "nodes":
            ids = self._variable(("[ID!]!", "[ID!]! = []"), st.sampled_from(IDS))
            return f"r{number}: nodes(ids: {ids}) {{ {self._below('Node', 2)} }}"
        depth = self._draw(st.integers(0, 3))
        return f"r{number}: {kind}{self._page('User' if kind == 'users' else 'Post', depth)}"

    def _page(self, of: str, depth: int) -> str:
        way = self._draw(st.sampled_from(["first", "last"]))
        before, behind = self._draw(
            st.sampled_from([("nodes {", "}"), ("edges { node {", "} }"), ("totalCount nodes {", "}")])
        )
        return f"({way}: {self._length()}) {{ {before} {self._below(of, depth - 1)} {behind} }}"

    def _below(self, of: str, depth: int) -> str:
        leaves = LEAVES[of]
        if depth <= 0:
            return leaves
        if of == "User":
            return f"{leaves} posts{self._page('Post', depth)}"
        if of == "Post":
            return f"{leaves} author {{ {self._below('User', depth - 1)} }}"
        return f"{leaves} ... on User {{ posts{self._page('Post', depth)} }}"

    def _length(self) -> str:
        return self._variable(TYPES, ODD)

    def _variable(self, types: tuple[str, ...], values: st.SearchStrategy[str]) -> str:
        name = f"v{len(self._declared)}"
        self._declared.append(f"${name}: {self._draw(st.sampled_from(types))}")
        if self._draw(st.integers(0, 5)):  # otherwise it is missing
            self._given.append(f'"{name}": {self._draw(values)}')
        return f"${name}"


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Return such a query."""
    return DocumentMaker(draw).document()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Without budgets: a hundred generated queries may cost more than a minute's."""
    return settings.model_copy(update={"cost_per_minute_max": 0, "cost_per_minute_per_address_max": 0})


@pytest.fixture
async def seeded(client: Client) -> Client:
    await seed(client.database, PLAN, "!", lambda *_: None)
    return client


def resolved(value: object, name: str = "") -> tuple[int, int]:
    """Return the cost of a part of a response by the weights of the schema, and its number of values."""
    if isinstance(value, list):
        parts = [resolved(one, name) for one in value]
        return sum(cost for cost, _ in parts), sum(values for _, values in parts)
    if isinstance(value, dict):
        parts = [resolved(one, key) for key, one in value.items()]
        return 1 + sum(cost for cost, _ in parts), 1 + sum(values for _, values in parts)
    return (10 if name.startswith("total") and value is not None else 0), 1


@with_settings(max_examples=examples(150), suppress_health_check=list(HealthCheck), deadline=None)
@given(document=documents())
async def test_price_is_never_below_the_cost_of_the_response_for_odd_variables(
    app: FastAPI, seeded: Client, document: Document
) -> None:
    query = orjson.dumps(document.text).decode()
    body = f'{{"query": {query}, "variables": {document.variables}, "extensions": {{"cost": true}}}}'
    answer = await seeded.http.post("/graphql", content=body, headers={"content-type": JSON})
    found = answer.json()
    assert answer.status_code in {200, 400}, found
    if found.get("data") is None:
        return  # refused by HTTP, by the price, or by the field itself
    cost, values = resolved(found["data"])
    operation = app.state.operations.find(document.text, None)
    price = operation.pricing.price(orjson.loads(document.variables))
    assert found["extensions"]["cost"]["requested"] == price.cost
    # The root object belongs to no field.
    assert price.cost >= cost - 1, body
    assert price.values >= values - 1, body
    assert price.answer_bytes >= len(orjson.dumps(found["data"])) - 2, body


@pytest.mark.parametrize("number", ["12", "12.0", "1.2e1", "120e-1"])
async def test_price_and_page_are_those_of_the_int_in_every_notation(seeded: Client, number: str) -> None:
    query = "query ($n: Int) { posts(first: $n) { nodes { id author { posts(first: $n) { nodes { id } } } } } }"
    body = f'{{"query": "{query}", "variables": {{"n": {number}}}, "extensions": {{"cost": true}}}}'
    found = (await seeded.http.post("/graphql", content=body, headers={"content-type": JSON})).json()
    assert len(found["data"]["posts"]["nodes"]) == 12
    assert found["extensions"]["cost"]["requested"] == 1 + 12 + 12 + 12 + 12 * 12


@pytest.mark.parametrize("odd", ["12.5", '"12"', "true", "[12]", "2147483648", "1e30", "-1", "0", "101"])
async def test_invalid_length_never_runs_and_has_the_highest_price(app: FastAPI, seeded: Client, odd: str) -> None:
    text = "query ($n: Int) { posts(first: $n) { nodes { id } } }"
    operation = app.state.operations.find(text, None)
    value = orjson.loads(odd)
    dearest = operation.pricing.price({"n": 100}).cost
    assert operation.pricing.price({"n": value}).cost == (dearest if value not in (-1, 0) else 1)
    body = f'{{"query": "{text}", "variables": {{"n": {odd}}}}}'
    found = (await seeded.http.post("/graphql", content=body, headers={"content-type": JSON})).json()
    assert found.get("data") is None
    assert found["errors"]
