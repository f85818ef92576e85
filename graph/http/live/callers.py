"""Who a live connection belongs to."""

from typing import NamedTuple

from db.access import ANONYMOUS, Viewer
from graph.runtime.authentication import token_claims, token_expiry
from graph.runtime.context import Services


class LiveCaller(NamedTuple):
    """The viewer of a live connection, and when their access token expires, in seconds since the epoch."""

    viewer: Viewer
    expires_at: float


async def caller_of(services: Services, authorizations: list[str]) -> LiveCaller | None:
    """Return the caller with these `Authorization` values; None if they are not one valid token of a live session.

    Raises:
        Unavailable: the database does not respond.
    """
    if not authorizations:
        return LiveCaller(ANONYMOUS, 0.0)
    claims = token_claims(services.tokens, authorizations)
    viewer = None if claims is None else claims.viewer(await claims.sessions(services.database))
    return None if viewer is None else LiveCaller(viewer, token_expiry(services.tokens, authorizations))
