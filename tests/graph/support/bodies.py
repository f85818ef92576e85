"""Raw request bodies, and their refusals."""

from typing import Any

import httpx
import orjson

JSON = "application/json"
NEWER = "application/graphql-response+json"
TYPENAME = {"query": "{ __typename }"}
ANSWER = {"data": {"__typename": "Query"}}
CREATE_USER = """
mutation { createUser(input: {email: "ada@example.com", username: "ada", password: "12345678"}) { user { id } } }
"""


async def send(http: httpx.AsyncClient, body: object, headers: dict[str, str] | None = None) -> httpx.Response:
    """Post bytes unchanged, and any other value as JSON."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return await http.post("/graphql", content=content, headers={"content-type": JSON, **(headers or {})})


def refusal(code: str, message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


def bad_request(message: str) -> tuple[int, dict[str, Any]]:
    return 400, refusal("BAD_REQUEST", message)
