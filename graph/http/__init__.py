"""GraphQL over HTTP: the only entry point for operations, as a pure ASGI application, and a faster path without ASGI.

- `parsing/`: headers, read once (`head`), and bodies and query strings as GraphQL requests (`requests`).
- `admission/`: limits on concurrent requests, on their time (`time_limits`), and on each caller's cost (`budgets`).
- `endpoint.py`: handles one request. `inline_lookup.py` handles simple ones without a task.
- `responses/`: media types and statuses (`response`), the size limit (`writing`), compression and sending (`encoder`).
- `wire/`: extends uvicorn: bounds on its reading (`protocol`), on connections (`open_connections`), and on unread
  responses (`unread`).
- `direct.py`: passes a complete POST to the endpoint without ASGI.
- `graphiql/`: GraphiQL and the front page. `origins.py`: CORS.

`bench/endpoint.py` measures what the endpoint costs as an ASGI application.
"""

from graph.http.endpoint import GraphQLEndpoint

__all__ = ["GraphQLEndpoint"]
