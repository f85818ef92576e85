"""The whole body of the response to a refused argument."""

from collections.abc import Mapping, Sequence
from typing import Any


def unlocated(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return `body` without the locations of its errors, which depend on the text of the document."""
    errors = [{key: value for key, value in error.items() if key != "locations"} for error in body.get("errors", [])]
    return {**body, "errors": errors} if errors else dict(body)


def bad_input(message: str, path: Sequence[str], *, nullable: bool = False) -> dict[str, Any]:
    """Return the body, without locations, of an operation that was refused at `path`.

    Args:
        message: the error and the valid alternative.
        path: the response keys from the root to the field.
        nullable: whether the root field may be null, so that the rest of the data is kept.
    """
    error = {"message": message, "path": list(path), "extensions": {"code": "BAD_USER_INPUT"}}
    return {"data": {path[0]: None} if nullable else None, "errors": [error]}
