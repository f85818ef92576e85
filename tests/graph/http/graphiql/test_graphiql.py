"""GraphiQL's page and its files: all come from this server, and each file is identical to its published version."""

import gc
import hashlib
import re
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from starlette.responses import Response

from db.seed.seeding import seed
from db.settings import Settings
from graph.cli.support.demo_data import DEMO_PASSWORD, DEMO_PLAN, DEMO_USERNAME
from graph.http.graphiql import page as graphiql
from tests.graph.support.callers import Client, serving_with

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
STATIC = Path(graphiql.__file__).parent / "static"
VENDORED = STATIC / "vendored"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src data:; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
LOADED = {
    "graphiql.min.css": ("text/css; charset=utf-8", VENDORED / "graphiql.min.css"),
    "page.css": ("text/css; charset=utf-8", STATIC / "page.css"),
    "react.production.min.js": ("text/javascript; charset=utf-8", VENDORED / "react.production.min.js"),
    "react-dom.production.min.js": ("text/javascript; charset=utf-8", VENDORED / "react-dom.production.min.js"),
    "graphiql.min.js": ("text/javascript; charset=utf-8", VENDORED / "graphiql.min.js"),
    "start.js": ("text/javascript; charset=utf-8", STATIC / "start.js"),
}


async def references(http: httpx.AsyncClient, address: str = "/graphql") -> list[str]:
    page = (await http.get(address, headers=BROWSER)).text
    return [reference for reference in re.findall(r'(?:src|href)="([^"]*)"', page) if reference != "data:,"]


async def test_page_loads_only_from_this_server(client: Client) -> None:
    response = await client.http.get("/graphql", headers=BROWSER)
    assert (response.status_code, response.headers["content-security-policy"]) == (200, POLICY)
    assert "//" not in response.text
    assert "<script>" not in response.text


async def test_all_files_of_the_page_are_served_with_their_type_and_cached_without_expiry(client: Client) -> None:
    served = []
    for reference in await references(client.http):
        response = await client.http.get(f"/{reference}")
        assert (response.status_code, response.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        digest = hashlib.blake2s(response.content, digest_size=8).hexdigest()
        named = reference.removeprefix("graphql/assets/").replace(f"-{digest}", "")
        served.append((named, response.headers["content-type"], response.content))
    assert served == [(name, media_type, path.read_bytes()) for name, (media_type, path) in LOADED.items()]


async def test_every_client_gets_the_same_bytes_whatever_coding_the_previous_one_accepted(client: Client) -> None:
    paths = ["/graphql", *(f"/{one}" for one in await references(client.http)), "/metrics", "/livez", "/readyz"]
    for path in paths:
        answers = [
            await client.http.get(path, headers={**BROWSER, "accept-encoding": coding})
            for coding in ("gzip", "gzip", "identity", "gzip", "identity")
        ]
        assert [answer.status_code for answer in answers] == [200] * 5
        lengths = [len(answer.content) for answer in answers]
        if path != "/metrics":  # /metrics counts these requests
            assert (path, {answer.content for answer in answers}) == (path, {answers[0].content})
        packed = [answer.headers.get("content-encoding") for answer in answers]
        chosen = "gzip" if min(lengths) >= client.services.settings.compress_bytes_min else None
        assert (path, packed) == (path, [chosen, chosen, None, chosen, None])


async def test_no_response_object_outlives_its_request(client: Client) -> None:
    """Middleware may change a response object: one that is reused would be correct only for the first client."""
    for path in ["/graphql", *(f"/{one}" for one in await references(client.http)), "/", "/metrics", "/livez", "/none"]:
        await client.http.get(path, headers=BROWSER)
    gc.collect()
    assert [one for one in gc.get_objects() if issubclass(type(one), Response)] == []


async def test_page_with_a_document_to_show_is_the_same_page(client: Client) -> None:
    assert await references(client.http, "/graphql?q=%7B%20__typename%20%7D") == await references(client.http)


@pytest.mark.parametrize(
    "name", ["start.js", "..%2Fgraphiql.py", "README.md", "vendored%2FREADME.md", "start-0.js", ""]
)
async def test_nothing_else_of_the_directory_is_served(client: Client, name: str) -> None:
    assert (await client.http.get(f"/graphql/assets/{name}")).status_code == 404


async def test_files_of_the_page_are_hidden_where_the_page_is(settings: Settings, client: Client) -> None:
    loaded = await references(client.http)
    async with serving_with(settings, env="production") as http:
        assert [(await http.get(f"/{one}")).status_code for one in loaded] == [404] * len(LOADED)


async def test_page_itself_is_never_cached(client: Client) -> None:
    assert (await client.http.get("/graphql", headers=BROWSER)).headers["cache-control"] == "no-store"


def test_vendored_files_are_identical_to_their_packages() -> None:
    listed = re.findall(r"\| `([^`]+)` \| .* \| `([0-9a-f]{64})` \|", (VENDORED / "README.md").read_text())
    scripts = sorted(path for path in VENDORED.iterdir() if path.suffix in {".js", ".css"})
    assert sorted(listed) == [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in scripts]


# ---------------------------------------------------------------- the first tabs


async def opening(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    page = (await http.get("/graphql", headers=BROWSER)).text
    found = re.search(r'<script type="application/json" id="opening">([^<]*)</script>', page)
    assert found is not None
    tabs: list[dict[str, Any]] = orjson.loads(found[1])
    return tabs


async def test_each_tab_of_the_first_visit_runs_on_the_demo_data(client: Client) -> None:
    await seed(client.database, DEMO_PLAN, await client.services.passwords.hash(DEMO_PASSWORD), lambda *_: None)
    welcome, sign_in, signed_in = await opening(client.http)
    assert (welcome["headers"], sign_in["headers"]) == (None, None)
    users = (await client.data(welcome["query"]))["users"]
    assert [len(user["posts"]["nodes"]) for user in users["nodes"]] == [2] * 5, users
    token = (await client.data(sign_in["query"]))["signIn"]["accessToken"]
    headers = orjson.loads(signed_in["headers"].replace("ACCESS_TOKEN", token))
    answer = (await client.http.post("/graphql", json={"query": signed_in["query"]}, headers=headers)).json()
    viewer = answer["data"]["viewer"]
    assert ("errors" in answer, viewer["username"]) == (False, DEMO_USERNAME)
    assert [bool(viewer["accounts"]["nodes"]), bool(viewer["posts"]["nodes"])] == [True, True]


async def test_lines_of_the_first_tabs_are_not_too_long(client: Client) -> None:
    assert [line for tab in await opening(client.http) for line in tab["query"].splitlines() if len(line) > 64] == []
