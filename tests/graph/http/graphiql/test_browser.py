"""GraphiQL in real browsers: it opens in several in a row, runs operations, and can be reloaded."""

from urllib.parse import urlencode

import httpx
import pytest

from db.seed.seeding import SeedPlan, seed
from graph.cli.support.demo_data import DEMO_PASSWORD
from tests.graph.support.browser import Browser, browser
from tests.graph.support.callers import Client

OPENED = "document.querySelector('.graphiql-query-editor .CodeMirror')"
TEXT = f"{OPENED}.CodeMirror.getValue()"
ANSWER = "document.querySelector('.result-window .CodeMirror').CodeMirror.getValue()"


def address(client: Client, path: str, **parameters: str) -> str:
    return f"{client.http.base_url.join(path)}{'?' if parameters else ''}{urlencode(parameters)}"


async def opened(client: Client, shown: Browser, path: str = "/graphql", **parameters: str) -> None:
    """Open GraphiQL and wait until it has loaded the schema."""
    await shown.open(address(client, path, **parameters))
    await shown.wait(OPENED)
    await shown.wait(f"!!{OPENED}.CodeMirror.options.lint.schema")


async def run(shown: Browser) -> str:
    """Run the operation in the editor, and return the response as it is shown."""
    await shown.script("document.querySelector('.graphiql-execute-button').click()")
    answer: str = await shown.wait(ANSWER)
    return answer


async def test_page_opens_in_one_browser_after_the_other_and_its_first_query_runs(
    client: Client, chromedriver: httpx.AsyncClient
) -> None:
    await seed(client.database, SeedPlan(users=9, posts=40, accounts=9), "a hash", lambda *_: None)
    answers = []
    for _ in range(2):
        async with browser(chromedriver) as shown:
            await opened(client, shown, "/")
            answers.append(await run(shown))
            assert await shown.complaints() == []
    assert answers[0] == answers[1]
    assert '"username": "' in answers[0]
    assert '"title": "' in answers[0]


@pytest.mark.long("a browser is started")
async def test_reloaded_page_shows_what_was_edited(client: Client, chromedriver: httpx.AsyncClient) -> None:
    text = "query Reloaded { posts { totalCount } }"
    async with browser(chromedriver) as shown:
        await opened(client, shown)
        # The second is longer than the longest address that the server reads.
        for edited in (text, text + " #" + "x" * 70_000):
            await shown.script(f"{OPENED}.CodeMirror.setValue(arguments[0])", edited)
            await shown.wait(f"new URLSearchParams(location.hash.slice(1)).get('query') === '{edited}'")
            await shown.reload()
            await shown.wait(OPENED)
            assert await shown.script(f"return {TEXT}") == edited
            # The page's address never contains what is typed, for instance a password.
            assert await shown.script("return location.search") == ""
        assert '"totalCount": 0' in await run(shown)
        assert await shown.complaints() == []


@pytest.mark.long("a browser is started")
async def test_link_to_an_edited_operation_opens_it_and_replaces_another_one(
    client: Client, chromedriver: httpx.AsyncClient
) -> None:
    async with browser(chromedriver) as shown:
        for name in ("First", "Second"):
            await shown.open(address(client, "/graphql") + "#" + urlencode({"query": f"query {name} {{ __typename }}"}))
            await shown.wait(f"{OPENED} && {TEXT} === 'query {name} {{ __typename }}'")
        # An edit is kept some time after it was typed, here between the opening of a link and its event.
        link = "#" + urlencode({"query": "query Third { __typename }"})
        await shown.script("location.hash = arguments[0]; remember('query', 'query Edited { __typename }')", link)
        await shown.wait(f"{OPENED} && {TEXT} === 'query Third {{ __typename }}'")
        assert await shown.complaints() == []


async def test_operation_of_an_address_is_shown_and_not_run(client: Client, chromedriver: httpx.AsyncClient) -> None:
    given = {"query": "query Given($first: Int) { posts(first: $first) { totalCount } }", "variables": '{"first": 3}'}
    async with browser(chromedriver) as shown:
        before = client.database.counters.statements
        await opened(client, shown, **given)
        assert await shown.script(f"return {TEXT}") == given["query"]
        assert client.database.counters.statements == before
        assert '"totalCount": 0' in await run(shown)


async def test_tabs_lead_from_signing_in_to_data_that_only_the_user_sees(
    client: Client, chromedriver: httpx.AsyncClient
) -> None:
    hashed = await client.services.passwords.hash(DEMO_PASSWORD)
    await seed(client.database, SeedPlan(users=9, posts=40, accounts=9, admin=True), hashed, lambda *_: None)
    async with browser(chromedriver) as shown:
        await opened(client, shown)
        tabs = "document.querySelectorAll('.graphiql-tab-button')"
        assert await shown.script(f"return [...{tabs}].map(one => one.textContent)") == [
            "Welcome",
            "SignIn",
            "SignedIn",
        ]
        await shown.script(f"{tabs}[1].click()")
        await shown.wait(f"{OPENED}.CodeMirror.operationName === 'SignIn'")
        await run(shown)
        token = await shown.script(f"return JSON.parse({ANSWER}).data.signIn.accessToken")
        await shown.script(f"{tabs}[2].click()")
        await shown.wait(f"{OPENED}.CodeMirror.operationName === 'SignedIn'")
        headers = "[...document.querySelectorAll('.graphiql-editor-tool .CodeMirror')].at(-1).CodeMirror"
        filled = await shown.script(f"return {headers}.getValue()")
        await shown.script(f"{headers}.setValue(arguments[0])", filled.replace("ACCESS_TOKEN", token))
        assert '"email": "ada@example.com"' in await run(shown)
