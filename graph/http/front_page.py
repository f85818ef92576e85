"""What stands at `/`, where people look first: the way to the API."""

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from graph.http.answers import SECURITY_HEADERS
from graph.http.fields import takes_html


def front_route(path: str, *, leads_to_page: bool) -> Route:
    """Return the route of `/`.

    Args:
        path: where the API is.
        leads_to_page: whether browsers find GraphiQL there.
    """
    redirected = {**SECURITY_HEADERS, "vary": "accept"}

    async def front(request: Request) -> Response:
        there = request.scope.get("root_path", "") + path
        if request.method not in {"GET", "HEAD"}:
            error = {"message": f"operations are sent to {there}", "extensions": {"code": "NOT_FOUND"}}
            return JSONResponse({"errors": [error]}, 404, SECURITY_HEADERS)
        if leads_to_page and takes_html(request.headers.get("accept", "").encode("latin-1")):
            # Relative, because a proxy may have taken off a part of the path that the browser sees.
            return RedirectResponse(path.removeprefix("/"), headers=redirected)
        text = f"Folio, a GraphQL API. Send operations to {there} by POST, as a JSON object with the key query.\n"
        return PlainTextResponse(text, headers=redirected)

    return Route("/", endpoint=front, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
