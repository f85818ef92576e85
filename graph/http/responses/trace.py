"""Requests with `"extensions": {"trace": true}`: the response contains the explanation of the query."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from graphql import ExecutionResult

from db.access import Viewer
from graph.http.parsing.requests import GraphQLRequest, HttpRefused
from graph.operations.cache import Operation, Operations
from graph.operations.explanation import traced
from graph.runtime.context import Services

TRACE = "trace"


def traced_run(
    operations: Operations, operation: Operation, request: GraphQLRequest, services: Services, viewer: Viewer
) -> Callable[[], Coroutine[Any, Any, ExecutionResult]] | None:
    """Return what runs a query with its trace, or None if the request does not want one.

    A trace shows the text of statements. In production only administrators may see it.

    Raises:
        HttpRefused: 403: the viewer may not have a trace; 400: it is a mutation, or `trace` is not a Boolean.
    """
    wanted = request.extensions[TRACE]
    if wanted is None or wanted is False:
        return None
    if wanted is not True:
        raise HttpRefused(400, "BAD_REQUEST", "extensions.trace should be true, false or null")
    if services.settings.env == "production" and not viewer.is_admin:
        message = "extensions.trace is for administrators only; sign in as one, or send the request without it"
        raise HttpRefused(403, "FORBIDDEN", message)
    if not operation.is_query:
        raise HttpRefused(400, "BAD_REQUEST", "extensions.trace explains queries only; send this operation without it")
    return partial(traced, operations.schema, operation, request.variables, services, viewer)
