"""Authentication: from the `Authorization` header to the viewer.

The claims of a token name a user and a session. At each request the database is queried whether the session is live.
The two steps are separate, so that a request can wait for its session without a task (`graph.http.drivers`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from asyncpg import Record

from db.access import Viewer
from db.connections.statements import Reader, RowsByKey
from db.repositories.sessions import live_sessions, live_sessions_among, viewer_among
from graph.runtime.tokens import TokenSigner

BEARER = "bearer"


class TokenClaims(NamedTuple):
    """The user and the session that an access token names."""

    user_id: int
    session_id: int

    def sessions(self, reader: Reader) -> RowsByKey:
        """Return the session if it is live, possibly among others; pass the result to `viewer`."""
        return live_sessions(reader, self.session_id)

    def viewer(self, sessions: Mapping[int, Record]) -> Viewer | None:
        """Return the viewer of this session, or None if it is not among the live `sessions`."""
        return viewer_among(sessions, self.session_id, self.user_id)


def token_claims(tokens: TokenSigner, authorizations: Sequence[str]) -> TokenClaims | None:
    """Return the claims of the only bearer token in the `Authorization` values; None if it is not valid."""
    if len(authorizations) != 1:
        return None
    scheme, _, token = authorizations[0].partition(" ")
    claims = tokens.read(token.strip()) if scheme.lower() == BEARER else None
    return None if claims is None else TokenClaims(*claims)


def token_expiry(tokens: TokenSigner, authorizations: Sequence[str]) -> float:
    """Return when the valid bearer token in the `Authorization` values expires, in seconds since the epoch."""
    return tokens.expires_at(authorizations[0].partition(" ")[2].strip()) or 0.0


async def changed_viewers(reader: Reader, viewers: Sequence[Viewer]) -> dict[Viewer, Viewer | None]:
    """Return the viewers who are others now, each with the present one, or with None if the session has ended.

    One statement reads the sessions of all. All viewers must have a session.

    Raises:
        Unavailable: the database does not respond.
    """
    numbers = {viewer.session_id: None for viewer in viewers if viewer.session_id is not None}
    alive = await live_sessions_among(reader, list(numbers))
    changed = {}
    for viewer in viewers:
        assert viewer.session_id is not None
        assert viewer.user_id is not None
        now = viewer_among(alive, viewer.session_id, viewer.user_id)
        if now != viewer:
            changed[viewer] = now
    return changed
