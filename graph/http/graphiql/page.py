"""The page that browsers get, GraphiQL, and the files that it loads: all from here, none from a stranger's server.

A page that can send a signed-in developer's operations must not run what a public network gave it, and must work where
there is none. The files of others stand in `static/vendored`, with where they come from. A file's name holds a digest
of its content, so that a browser keeps it for good and never shows an old one with a new page.
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

# In the order in which the page needs them: a script of others reads what the one before it has defined.
_FILES = (
    "vendored/graphiql.min.css",
    "page.css",
    "vendored/react.production.min.js",
    "vendored/react-dom.production.min.js",
    "vendored/graphiql.min.js",
    "start.js",
)
# The tabs of the first visit: an operation, and the headers that it is sent with.
_OPENING: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("welcome.graphql", {}),
    ("sign_in.graphql", {}),
    ("signed_in.graphql", {"Authorization": "Bearer ACCESS_TOKEN"}),
)
_MEDIA_TYPES = {"js": "text/javascript", "css": "text/css"}
# Parameters of a query string, each of which names an operation to run.
_OPERATION = frozenset({"query", "extensions", "documentId"})
_ASSET_HEADERS = {**SECURITY_HEADERS, "cache-control": "public, max-age=31536000, immutable"}
# Below the page's own address, which behind a proxy is not always /graphql: hence a relative one.
_DIRECTORY = "graphql/assets"

# Its dialogs write a style element. No style can tell anything to anybody where nothing foreign may be loaded.
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
    """Return the GraphiQL page, with a policy that lets it load what this server has and nothing else."""
    styles = [f'<link rel="stylesheet" href="{_DIRECTORY}/{name}">' for name in _assets() if name.endswith(".css")]
    scripts = [f'<script src="{_DIRECTORY}/{name}"></script>' for name in _assets() if name.endswith(".js")]
    html = _PAGE.format(styles="\n".join(styles), opening=_opening(), scripts="\n".join(scripts))
    return Response(200, html.encode(), "text/html", {"content-security-policy": _POLICY})


def _opening() -> str:
    """Return the tabs of the first visit as JSON, in which nothing ends the script element that it stands in."""
    directory = files("graph.http.graphiql").joinpath("static", "opening")
    tabs = [
        {"query": directory.joinpath(name).read_text(encoding="utf-8"), "headers": _shown(headers)}
        for name, headers in _OPENING
    ]
    return orjson.dumps(tabs).decode().replace("<", "\\u003c")


def _shown(headers: Mapping[str, str]) -> str | None:
    return orjson.dumps(headers, option=orjson.OPT_INDENT_2).decode() if headers else None


def is_wanted(head: Head, query_string: bytes) -> bool:
    """Say whether a GET asks for the page: a browser's does, also with an operation, which the editor then shows.

    A program that takes HTML too, and sends an operation, gets its answer.
    """
    if not takes_html(head.accept):
        return False
    names = {name for name, _ in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)}
    return names.isdisjoint(_OPERATION) or not is_from_program(head)


async def _sent_asset(request: Request) -> StarletteResponse:
    found = _assets().get(request.path_params["name"])
    if found is None:
        return StarletteResponse(status_code=404, headers=SECURITY_HEADERS)
    # A new response for each request: the compression writes its own headers into the one that it is given.
    return StarletteResponse(found.content, headers=_ASSET_HEADERS, media_type=found.media_type)


def asset_route() -> Route:
    """Return the route of what the page loads."""
    return Route(f"/{_DIRECTORY}/{{name}}", endpoint=_sent_asset, methods=["GET"])
