"""The front page at `/`, and the API's path with a trailing slash: both lead to the API.

All links are relative. Only the client and its proxies know the public address of this server, and a request's Host
header can be false.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from graph.http.parsing.fields import takes_html
from graph.http.responses.response import SECURITY_HEADERS


def front_routes(path: str, *, leads_to_page: bool) -> list[Route]:
    """Return the route of `/`, and the route of `path` with a trailing slash, for clients that are configured so."""
    redirected = {**SECURITY_HEADERS, "vary": "accept"}

    async def front(request: Request) -> Response:
        api = request.scope.get("root_path", "") + path
        if request.method not in {"GET", "HEAD"}:
            error = {"message": f"send operations to {api}", "extensions": {"code": "NOT_FOUND"}}
            return JSONResponse({"errors": [error]}, 404, SECURITY_HEADERS)
        if leads_to_page and takes_html(request.headers.get("accept", "").encode("latin-1")):
            # Relative, because a proxy may have removed a prefix of the path that the browser sees.
            return RedirectResponse(path.removeprefix("/"), headers=redirected)
        text = f"Folio, a GraphQL API. Send operations to {api} by POST, as a JSON object with the key query.\n"
        return PlainTextResponse(text, headers=redirected)

    async def without_slash(request: Request) -> Response:
        query = request.scope["query_string"].decode("latin-1")
        return RedirectResponse(f"..{path}?{query}" if query else f"..{path}", headers=SECURITY_HEADERS)

    return [
        Route("/", endpoint=front, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        Route(f"{path}/", endpoint=without_slash, methods=["GET", "POST"]),
    ]
