"""Live updates in a real browser, by its WebSocket and EventSource, from pages of this server and of another one."""

from urllib.parse import urlencode

import httpx
import pytest

from tests.graph.support.browser import Browser, browser
from tests.graph.support.callers import Client, Person
from tests.graph.support.live import PUBLISHED, publish, until_open

WEBSOCKET = """
window.received = [];
const socket = new WebSocket(arguments[0], 'graphql-transport-ws');
socket.onopen = () => socket.send(JSON.stringify({type: 'connection_init'}));
socket.onclose = (event) => window.received.push(`closed ${event.code}`);
socket.onmessage = ({data}) => {
  const message = JSON.parse(data);
  if (message.type === 'connection_ack') {
    socket.send(JSON.stringify({type: 'subscribe', id: '1', payload: {query: arguments[1]}}));
  } else {
    window.received.push(message.payload.data.postPublished.post.title);
  }
};
"""
EVENT_SOURCE = """
window.received = [];
const source = new EventSource(arguments[0]);
source.addEventListener('next', ({data}) => {
  window.received.push(JSON.parse(data).data.postPublished.post.title);
});
source.onerror = () => window.received.push('error');
"""


async def received(shown: Browser, count: int) -> list[str]:
    """Wait until the page has received so much, and return it."""
    found: list[str] = await shown.wait(f"window.received.length >= {count} && window.received")
    return found


@pytest.mark.long("a browser is started")
@pytest.mark.parametrize("kind", ["WebSocket", "EventSource"])
async def test_page_of_the_server_receives_events(
    client: Client,
    ida: Person,
    chromedriver: httpx.AsyncClient,
    kind: str,
) -> None:
    url = client.http.base_url.join("/graphql")
    async with browser(chromedriver) as shown:
        await shown.open(str(url))
        if kind == "WebSocket":
            await shown.script(WEBSOCKET.replace("arguments[1]", repr(PUBLISHED)), str(url).replace("http", "ws", 1))
        else:
            await shown.script(EVENT_SOURCE, f"{url}?{urlencode({'query': PUBLISHED})}")
        await until_open(client, 1)
        await publish(client, ida, "a", "b")
        assert await received(shown, 2) == ["a", "b"]
    await until_open(client, 0)


@pytest.mark.long("a browser is started")
async def test_page_of_another_origin_can_open_neither(
    client: Client,
    chromedriver: httpx.AsyncClient,
) -> None:
    url = client.http.base_url.join("/graphql")
    async with browser(chromedriver) as shown:
        await shown.open("data:text/html,<title>another</title>")
        await shown.script(WEBSOCKET.replace("arguments[1]", repr(PUBLISHED)), str(url).replace("http", "ws", 1))
        assert await received(shown, 1) == ["closed 1006"]
        await shown.script(EVENT_SOURCE, f"{url}?{urlencode({'query': PUBLISHED})}")
        assert await received(shown, 1) == ["error"]
