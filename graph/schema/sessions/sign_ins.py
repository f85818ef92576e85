"""Whoever proves to know a password: from where, after how many attempts, and what is logged of it."""

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
    """Return what stands for the caller's address, or for a known device.

    It is a digest with the secret, so that the table holds no addresses. No address begins with a space.
    """
    assert settings.secret_key is not None
    key = settings.secret_key.get_secret_value().encode()
    named = caller_address.get() if device is None else f" device {device.id}"
    return hmac.digest(key, named.encode(), hashlib.sha256)


async def known_device(context: Context, login: str, token: str | None) -> Device | None:
    """Return the device that a token is for, where the user of `login` has signed in on it with their password.

    Whatever else a token says is not told: it then helps nothing, and hurts nothing.
    """
    device = None if token is None else context.services.tokens.read_device(token)
    if device is None:
        return None
    found = await credentials_of(context.database, login)
    return device if found is not None and device.proved(found.user_id, found.hashed_password) else None


async def attempted(context: Context, login: str, device: Device | None = None) -> Attempt:
    """Count an attempt to prove a password, which may then be looked at; by the device where that is known.

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
    """Log a failed attempt after which the next one has to wait, where it was for a user. The login is not logged.

    People type passwords into the wrong box.
    """
    if attempt.wait_s and attempt.user_id is not None:
        fields = {"user_id": attempt.user_id, "wait_s": attempt.wait_s, "known_place": attempt.is_known}
        logger.warning("sign-ins fail again and again", extra={"fields": fields})
