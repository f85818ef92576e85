"""Signed tokens (RFC 7519): access tokens, and tokens that identify a device.

An access token only names a session: role and status of the user are read from the database at each request. A device
token grants no access; it shows on which device a user has proved the password (`graph.schema.sessions.sign_ins`).
"""

import datetime
import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import jwt
from cachetools import LRUCache

from db.settings import Settings

ALGORITHM = "HS256"
ISSUER = "folio"

DEVICE_AUDIENCE = "device"  # so that one kind of token is never accepted as the other
DEVICE_ID_BYTES = 16
DEVICE_TOKEN_LENGTH_MAX = 1024

# A client sends its token with each request, and verifying a signature takes as long as reading a row. So the claims of
# valid tokens are cached; their times are checked at each request, as their sessions are.
READ_KEPT_MAX = 4096
# The clock of the server that has signed a token may be ahead of this server's clock by this much (RFC 7519, section
# 4.1.4: "some small leeway"), or this clock may be set back. A token from further ahead would be valid for longer than
# tokens may be.
AHEAD_MAX_S = 60


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed token and its expiry."""

    text: str
    expires_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Device:
    """A device on which a user has signed in.

    Attributes:
        id: random; it stays the same when a new token replaces an old one.
        password_digest: a digest of the hash of the proved password: a new password makes the device unknown.
    """

    user_id: int
    id: str
    password_digest: str

    @classmethod
    def new(cls, user_id: int, hashed_password: str) -> Self:
        """Return a new device."""
        return cls(user_id, secrets.token_urlsafe(DEVICE_ID_BYTES), _digest(hashed_password))

    def proved(self, user_id: int, hashed_password: str) -> bool:
        """Return whether this user has signed in on the device, with the password that has this hash."""
        return self.user_id == user_id and self.password_digest == _digest(hashed_password)


def _digest(hashed_password: str) -> str:
    return hashlib.sha256(hashed_password.encode()).hexdigest()[:32]


class _Read(NamedTuple):
    """The claims of a token with a valid signature. Both times are in seconds since the epoch."""

    user_id: int
    session_id: int
    issued_at: float
    expires_at: float


class TokenSigner:
    """Signs and reads access tokens with the secret of the settings."""

    def __init__(self, settings: Settings) -> None:
        if settings.secret_key is None:
            raise ValueError("TokenSigner needs settings.secret_key; db.setup.development makes one where none is set")
        self._key = settings.secret_key.get_secret_value()
        self._ttl = datetime.timedelta(seconds=settings.access_token_ttl_s)
        self._read: LRUCache[str, _Read] = LRUCache(READ_KEPT_MAX)

    def sign(self, user_id: int, session_id: int) -> AccessToken:
        """Return an access token for a session of a user."""
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        expires_at = now + self._ttl
        claims = {"iss": ISSUER, "sub": str(user_id), "sid": session_id, "iat": now, "exp": expires_at}
        return AccessToken(jwt.encode(claims, self._key, algorithm=ALGORITHM), expires_at)

    def read(self, token: str) -> tuple[int, int] | None:
        """Return the user's and the session's id in `token`; None if its signature is invalid or it has expired."""
        read = self._read.get(token)
        if read is None:
            read = self._verified(token)
            if read is None:
                return None
            self._read[token] = read
        if not read.issued_at - AHEAD_MAX_S <= time.time() < read.expires_at:
            return None
        return read.user_id, read.session_id

    def expires_at(self, token: str) -> float | None:
        """Return when an access token expires, in seconds since the epoch; None if it is not valid."""
        return None if self.read(token) is None else self._read[token].expires_at

    def sign_device(self, device: Device, ttl_s: int) -> str:
        """Return a token that identifies a device for `ttl_s` seconds."""
        expires_at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=ttl_s)
        claims = {
            "iss": ISSUER,
            "aud": DEVICE_AUDIENCE,
            "sub": str(device.user_id),
            "jti": device.id,
            "pwd": device.password_digest,
            "exp": expires_at,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM)

    def read_device(self, token: str) -> Device | None:
        """Return the device that `token` identifies; None if its signature is invalid or it has expired."""
        if len(token) > DEVICE_TOKEN_LENGTH_MAX:
            return None
        try:
            claims = self._claims(token, ["sub", "jti", "aud"], DEVICE_AUDIENCE)
            return Device(int(claims["sub"]), str(claims["jti"]), str(claims["pwd"]))
        except (jwt.InvalidTokenError, ValueError, TypeError, KeyError):
            return None

    def _verified(self, token: str) -> _Read | None:
        try:
            claims = self._claims(token, ["sub", "sid", "iat"])
            return _Read(int(claims["sub"]), int(claims["sid"]), float(claims["iat"]), float(claims["exp"]))
        except (jwt.InvalidTokenError, ValueError, TypeError):
            return None

    def _claims(self, token: str, required: Sequence[str], audience: str | None = None) -> dict[str, Any]:
        """Return the claims of a token that this server's secret has signed, and that has not expired.

        Raises:
            jwt.InvalidTokenError: the token is invalid or expired, has another audience, or lacks a required claim.
        """
        claims: dict[str, Any] = jwt.decode(
            token,
            self._key,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=audience,
            options={"require": ["iss", "exp", *required], "verify_iat": False},
        )
        return claims
