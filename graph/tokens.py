"""Access tokens: signed, short-lived, and only a pointer to a session (RFC 7519).

Nothing in a token is believed but who it points to: role and standing are read from the database at each request.
"""

import datetime
from dataclasses import dataclass

import jwt

from db.settings import Settings

ALGORITHM = "HS256"
ISSUER = "folio"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed token and when it stops working."""

    text: str
    expires_at: datetime.datetime


class TokenSigner:
    """Signs and reads access tokens with the secret of the settings."""

    def __init__(self, settings: Settings) -> None:
        if settings.secret_key is None:
            raise ValueError("TokenSigner needs settings.secret_key; db.development gives one where none is set")
        self._key = settings.secret_key.get_secret_value()
        self._ttl = datetime.timedelta(seconds=settings.access_token_ttl_s)

    def sign(self, user_id: int, session_id: int) -> AccessToken:
        """Return a token for a session of a user."""
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        expires_at = now + self._ttl
        claims = {"iss": ISSUER, "sub": str(user_id), "sid": session_id, "iat": now, "exp": expires_at}
        return AccessToken(jwt.encode(claims, self._key, algorithm=ALGORITHM), expires_at)

    def read(self, token: str) -> tuple[int, int] | None:
        """Return the user and session that `token` points to, or None where it is not ours or has expired."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                options={"require": ["iss", "sub", "sid", "iat", "exp"]},
            )
            return int(claims["sub"]), int(claims["sid"])
        except (jwt.InvalidTokenError, ValueError, TypeError):
            return None
