"""The GraphiQL page and the files that it loads. All of them come from this server, none from a public one.

The page can send operations of a signed-in developer, so it must not run code from a public network. It must also work
without the internet. Third-party files are in `static/vendored`, with their sources. The name of a file contains a
digest of its content, so that browsers can cache it without expiry and never combine an old file with a new page.
"""

import functools
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import NamedTuple
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route

from graph.http.parsing.fields import takes_html
from graph.http.parsing.head import Head
from graph.http.parsing.requests import is_from_program
from graph.http.responses.response import SECURITY_HEADERS, Response

# In the order in which the page needs them: each script uses names that the previous ones define.
_FILES = (
    "vendored/graphiql.min.css",
    "page.css",
    "vendored/react.production.min.js",
    "vendored/react-dom.production.min.js",
    "vendored/graphiql.min.js",
    "start.js",
)
# The tabs of the first visit: an operation, and the headers to send with it.
_OPENING: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("welcome.graphql", {}),
    ("sign_in.graphql", {}),
    ("signed_in.graphql", {"Authorization": "Bearer ACCESS_TOKEN"}),
)
_MEDIA_TYPES = {"js": "text/javascript", "css": "text/css"}
# Query string parameters that contain or name an operation to run.
_OPERATION = frozenset({"query", "extensions", "documentId"})
_ASSET_HEADERS = {**SECURITY_HEADERS, "cache-control": "public, max-age=31536000, immutable"}
# Relative to the page's address, which is not always /graphql behind a proxy.
_DIRECTORY = "graphql/assets"

# GraphiQL's dialogs write a style element, so inline styles are allowed. A style cannot leak data here, because the
# policy forbids all requests to other servers.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src data:; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Folio GraphiQL</title>
<link rel="icon" href="data:,">
{styles}
</head>
<body>
<div id="graphiql">GraphiQL needs JavaScript.</div>
<script type="application/json" id="opening">{opening}</script>
{scripts}
</body>
</html>
"""


class _Asset(NamedTuple):
    content: bytes
    media_type: str


@functools.cache
def _assets() -> Mapping[str, _Asset]:
    static = files("graph.http.graphiql").joinpath("static")
    return dict(_asset(name.rpartition("/")[2], static.joinpath(name).read_bytes()) for name in _FILES)


def _asset(name: str, content: bytes) -> tuple[str, _Asset]:
    stem, _, extension = name.rpartition(".")
    digest = hashlib.blake2s(content, digest_size=8).hexdigest()
    return f"{stem}-{digest}.{extension}", _Asset(content, _MEDIA_TYPES[extension])


@functools.cache
def page() -> Response:
    """Return the GraphiQL page, with a policy that lets it load files only from this server."""
    styles = [f'<link rel="stylesheet" href="{_DIRECTORY}/{name}">' for name in _assets() if name.endswith(".css")]
    scripts = [f'<script src="{_DIRECTORY}/{name}"></script>' for name in _assets() if name.endswith(".js")]
    html = _PAGE.format(styles="\n".join(styles), opening=_opening(), scripts="\n".join(scripts))
    return Response(200, html.encode(), "text/html", {"content-security-policy": _POLICY})


def _opening() -> str:
    """Return the tabs of the first visit as JSON. It cannot close the script element that contains it."""
    directory = files("graph.http.graphiql").joinpath("static", "opening")
    tabs = [
        {"query": directory.joinpath(name).read_text(encoding="utf-8"), "headers": _shown(headers)}
        for name, headers in _OPENING
    ]
    return orjson.dumps(tabs).decode().replace("<", "\\u003c")


def _shown(headers: Mapping[str, str]) -> str | None:
    return orjson.dumps(headers, option=orjson.OPT_INDENT_2).decode() if headers else None


def wants_page(head: Head, query_string: bytes) -> bool:
    """Return whether a GET requests the page.

    A browser's GET does, also with an operation, which the editor then shows. A program that accepts HTML and sends an
    operation gets the operation's response.
    """
    if not takes_html(head.accept):
        return False
    names = {name for name, _ in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)}
    return names.isdisjoint(_OPERATION) or not is_from_program(head)


async def _send_asset(request: Request) -> StarletteResponse:
    found = _assets().get(request.path_params["name"])
    if found is None:
        return StarletteResponse(status_code=404, headers=SECURITY_HEADERS)
    # A new response for each request: the compression middleware changes the headers of the response object.
    return StarletteResponse(found.content, headers=_ASSET_HEADERS, media_type=found.media_type)


def asset_route() -> Route:
    """Return the route of the files that the page loads."""
    return Route(f"/{_DIRECTORY}/{{name}}", endpoint=_send_asset, methods=["GET"])
