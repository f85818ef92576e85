"""Whoever proves to know a password: from where, after how many attempts, and what is logged of it."""

import hashlib
import hmac
import logging

from db import sign_ins as repository
from db.settings import Settings
from db.sign_ins import Attempt, AttemptLimits
from db.statements import Reader
from graph.context import Context, caller_address

logger = logging.getLogger("folio.sign_in")


def place_of(settings: Settings) -> bytes:
    """Return what stands for the caller's address: a digest with the secret, so that the table holds no addresses."""
    assert settings.secret_key is not None
    key = settings.secret_key.get_secret_value().encode()
    return hmac.digest(key, caller_address.get().encode(), hashlib.sha256)


async def attempted(context: Context, login: str, place: bytes) -> Attempt:
    """Count an attempt to prove a password, which may then be looked at.

    Raises:
        Refusal: TOO_MANY_ATTEMPTS.
    """
    settings = context.services.settings
    limits = AttemptLimits(settings.sign_in_attempts_max, settings.sign_in_window_s)

    async def count(transaction: Reader) -> Attempt:
        return await repository.count_attempt(transaction, login, place, limits)

    async with context.turn([repository.attempts_key(login, place)]):
        return await context.database.write(count)


def log_failure(attempt: Attempt) -> None:
    """Log a failed attempt after which the next one has to wait, where it was for a user. The login is not logged.

    People type passwords into the wrong box.
    """
    if attempt.wait_s and attempt.user_id is not None:
        fields = {"user_id": attempt.user_id, "wait_s": attempt.wait_s, "known_address": attempt.is_known}
        logger.warning("sign-ins fail again and again", extra={"fields": fields})
