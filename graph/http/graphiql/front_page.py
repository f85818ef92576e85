"""What stands at `/`, where people look first, and at the API's path with a slash behind it: the way to the API.

Each way is a relative one. Where this server can be reached is known to the client and the proxies before it, not here,
and what a request says in Host need not be true.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from graph.http.parsing.fields import takes_html
from graph.http.responses.response import SECURITY_HEADERS


def front_routes(path: str, *, leads_to_page: bool) -> list[Route]:
    """Return the route of `/`, and that of `path` with a slash behind it, for clients that are set up so.

    Args:
        path: where the API is.
        leads_to_page: whether browsers find GraphiQL there.
    """
    redirected = {**SECURITY_HEADERS, "vary": "accept"}

    async def front(request: Request) -> Response:
        api = request.scope.get("root_path", "") + path
        if request.method not in {"GET", "HEAD"}:
            error = {"message": f"operations are sent to {api}", "extensions": {"code": "NOT_FOUND"}}
            return JSONResponse({"errors": [error]}, 404, SECURITY_HEADERS)
        if leads_to_page and takes_html(request.headers.get("accept", "").encode("latin-1")):
            # Relative, because a proxy may have taken off a part of the path that the browser sees.
            return RedirectResponse(path.removeprefix("/"), headers=redirected)
        text = f"Folio, a GraphQL API. Send operations to {api} by POST, as a JSON object with the key query.\n"
        return PlainTextResponse(text, headers=redirected)

    async def there(request: Request) -> Response:
        query = request.scope["query_string"].decode("latin-1")
        return RedirectResponse(f"..{path}?{query}" if query else f"..{path}", headers=SECURITY_HEADERS)

    return [
        Route("/", endpoint=front, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        Route(f"{path}/", endpoint=there, methods=["GET", "POST"]),
    ]
