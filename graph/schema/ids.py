"""Global ids: short, typed, and opaque by contract, for instance `post_123`.

Parsing is strict, so that one object has one id: no leading zero, no sign, no space, nothing beyond a bigint.
"""

import re
from enum import Enum

import strawberry

from db.query.cursors import BIGINT_MAX
from graph.errors import BadInput


class NodeKind(Enum):
    """The kinds of nodes; their ids begin with the value."""

    USER = "user"
    POST = "post"
    COMMENT = "comment"
    ACCOUNT = "account"
    TRANSACTION = "transaction"

    def __init__(self, head: str) -> None:
        self.pattern = re.compile(rf"{head}_([1-9][0-9]{{0,18}})", re.ASCII)


_KINDS = {kind.value: kind for kind in NodeKind}
_PATTERN = re.compile(rf"({'|'.join(_KINDS)})_([1-9][0-9]{{0,18}})", re.ASCII)


def global_id(kind: NodeKind, number: int) -> strawberry.ID:
    """Return the global id of the row `number` of a kind."""
    return strawberry.ID(f"{kind.value}_{number}")


def parse_any(text: str, where: str) -> tuple[NodeKind, int]:
    """Return the kind and row that a global id names.

    Raises:
        BadInput: it is not a global id; `where` names the argument in the message.
    """
    match = _PATTERN.fullmatch(text)
    number = int(match[2]) if match else 0
    if match is None or number > BIGINT_MAX:
        raise BadInput(f"{where} is not an id; send an `id` that the API has returned")
    return _KINDS[match[1]], number


def parse(text: str, kind: NodeKind, where: str) -> int:
    """Return the row that a global id of `kind` names.

    Raises:
        BadInput: it is not a global id, or one of another kind.
    """
    match = kind.pattern.fullmatch(text)
    if match is not None:
        number = int(match[1])
        if number <= BIGINT_MAX:
            return number
    found, _ = parse_any(text, where)
    raise BadInput(f"{where} is the id of {_any(found)}, but the id of {_any(kind)} is expected")


def _any(kind: NodeKind) -> str:
    return f"an {kind.value}" if kind.value[0] in "aeio" else f"a {kind.value}"
