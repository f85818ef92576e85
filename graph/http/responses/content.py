"""The content of a response: what an execution result becomes before it is encoded."""

from typing import Any

import orjson
from graphql import ExecutionResult

from graph.analysis.limits import Price
from graph.errors import presented
from graph.http.parsing.requests import GraphQLRequest
from graph.http.responses.response import codes_of
from graph.operations.cache import Operation, Operations, ensure_ran
from graph.telemetry.current import Observation


class Contents:
    """Makes the contents of responses, and keeps the data of introspections."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def of(self, result: ExecutionResult, operation: Operation, request_id: str) -> dict[str, Any]:
        """Return the response object of a result. The data of an introspection is encoded as JSON, for `keep`.

        Raises:
            RequestRefused: the operation did not run.
        """
        ensure_ran(result)
        content: dict[str, Any] = {"data": result.data}
        if operation.is_introspection and not result.errors:
            content["data"] = orjson.dumps(result.data)
        if result.errors:
            content["errors"] = [presented(error, request_id).formatted for error in result.errors]
        if result.extensions is not None:
            content["extensions"] = result.extensions
        return content

    def keep(self, operation: Operation, content: dict[str, Any]) -> None:
        """Cache the data of an introspection. Only the event loop's thread may use the caches."""
        data = content["data"]
        if isinstance(data, bytes):
            self._operations.keep_introspected(operation, data)
            content["data"] = orjson.Fragment(data)


def complete(content: dict[str, Any], request: GraphQLRequest, price: Price, seen: Observation) -> None:
    """Note the errors in the observation, and add the cost to the content if the request wants that."""
    if "errors" in content:
        seen.codes = codes_of(content["errors"])
    if request.extensions.get("cost") is True:
        content.setdefault("extensions", {})["cost"] = price.as_extension()
