"""Attempts to prove a password: their origin, their number, and the log message of a failure."""

import hashlib
import hmac
import logging

from db.connections.statements import Reader
from db.repositories import sign_ins as repository
from db.repositories.sessions import credentials_of
from db.repositories.sign_ins import Attempt, AttemptLimits
from db.settings import Settings
from graph.runtime.context import Context, caller_address
from graph.runtime.tokens import Device

logger = logging.getLogger("folio.sign_in")


def place_of(settings: Settings, device: Device | None = None) -> bytes:
    """Return the key of the caller's address or, if one is given, of a known device.

    The key is a digest with the secret, so that the table contains no addresses. A device begins with a space, because
    no address does.
    """
    assert settings.secret_key is not None
    key = settings.secret_key.get_secret_value().encode()
    named = caller_address.get() if device is None else f" device {device.id}"
    return hmac.digest(key, named.encode(), hashlib.sha256)


async def known_device(context: Context, login: str, token: str | None) -> Device | None:
    """Return the device of a token, if the user of `login` has signed in on it with the current password.

    Any other token is ignored without a message: it neither helps nor harms the caller.
    """
    device = None if token is None else context.services.tokens.read_device(token)
    if device is None:
        return None
    found = await credentials_of(context.database, login)
    return device if found is not None and device.proved(found.user_id, found.hashed_password) else None


async def attempted(context: Context, login: str, device: Device | None = None) -> Attempt:
    """Count an attempt to prove a password, before the password is verified.

    A known device has a separate count, so that attempts from elsewhere do not use it up.

    Raises:
        Refusal: TOO_MANY_ATTEMPTS.
    """
    settings = context.services.settings
    limits = AttemptLimits(settings.sign_in_attempts_max, settings.sign_in_window_s)
    place = place_of(settings, device)

    async def count(transaction: Reader) -> Attempt:
        return await repository.count_attempt(transaction, login, place, limits, is_known=device is not None)

    async with context.turn([repository.attempts_key(login, place)]):
        return await context.database.write(count)


def log_failure(attempt: Attempt) -> None:
    """Log a failed attempt after which the next one must wait, if the login is that of a user.

    The login itself is not logged: people type passwords into the wrong box.
    """
    if attempt.wait_s and attempt.user_id is not None:
        fields = {"user_id": attempt.user_id, "wait_s": attempt.wait_s, "known_place": attempt.is_known}
        logger.warning("sign-ins fail again and again", extra={"fields": fields})
