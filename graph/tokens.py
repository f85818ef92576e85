"""Access tokens: signed, short-lived, and only a pointer to a session (RFC 7519).

Nothing in a token is believed but who it points to: role and standing are read from the database at each request.
"""

import datetime
import time
from dataclasses import dataclass
from typing import NamedTuple

import jwt
from cachetools import LRUCache

from db.settings import Settings

ALGORITHM = "HS256"
ISSUER = "folio"

# A client sends its token with each request, and to look at a signature takes as long as to read a row. What is kept is
# what a good token says; whether its time has come and is not over is looked at each time, as its session is.
READ_KEPT_MAX = 4096


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed token and when it stops working."""

    text: str
    expires_at: datetime.datetime


class _Read(NamedTuple):
    """What a token says whose signature is good. The two times are in seconds since the epoch."""

    user_id: int
    session_id: int
    issued_at: float
    expires_at: float


class TokenSigner:
    """Signs and reads access tokens with the secret of the settings."""

    def __init__(self, settings: Settings) -> None:
        if settings.secret_key is None:
            raise ValueError("TokenSigner needs settings.secret_key; db.development gives one where none is set")
        self._key = settings.secret_key.get_secret_value()
        self._ttl = datetime.timedelta(seconds=settings.access_token_ttl_s)
        self._read: LRUCache[str, _Read] = LRUCache(READ_KEPT_MAX)

    def sign(self, user_id: int, session_id: int) -> AccessToken:
        """Return a token for a session of a user."""
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        expires_at = now + self._ttl
        claims = {"iss": ISSUER, "sub": str(user_id), "sid": session_id, "iat": now, "exp": expires_at}
        return AccessToken(jwt.encode(claims, self._key, algorithm=ALGORITHM), expires_at)

    def read(self, token: str) -> tuple[int, int] | None:
        """Return the user and session that `token` points to, or None where it is not ours or has expired."""
        read = self._read.get(token)
        if read is None or not read.issued_at <= time.time() < read.expires_at:
            read = self._verified(token)
            if read is None:
                return None
            self._read[token] = read
        return read.user_id, read.session_id

    def _verified(self, token: str) -> _Read | None:
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                options={"require": ["iss", "sub", "sid", "iat", "exp"]},
            )
            return _Read(int(claims["sub"]), int(claims["sid"]), float(claims["iat"]), float(claims["exp"]))
        except (jwt.InvalidTokenError, ValueError, TypeError):
            return None
