"""GraphQL over HTTP: the only entry point for operations, as a pure ASGI application, and a faster path without ASGI.

- `parsing/`: headers, read once (`head`), and bodies and query strings as GraphQL requests (`requests`).
- `admission/`: limits on concurrent requests, on their time (`time_limits`), and on each caller's cost (`budgets`).
- `pipeline.py`: every request, as a generator that yields what it waits for (`steps.py`). The two drivers of
  `drivers.py` wait: by callback, or in a task.
- `responses/`: media types and statuses (`response`), contents (`content`), the size limit (`writing`).
- `wire/`: extends uvicorn: bounds on its reading (`protocol`), on connections (`open_connections`), and on unread
  responses (`unread`).
- `endpoint.py`: passes requests to the pipeline through ASGI; `direct.py`: passes a complete POST without ASGI.
- `graphiql/`: GraphiQL and the front page. `origins.py`: CORS. `compression.py`: compressed responses.

`bench/endpoint.py` measures what the endpoint costs as an ASGI application.
"""

from graph.http.endpoint import GraphQLEndpoint
from graph.http.pipeline import Pipeline

__all__ = ["GraphQLEndpoint", "Pipeline"]
