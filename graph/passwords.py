"""Passwords: hashed with argon2id, in a bounded pool of threads and never on the event loop.

The parameters follow RFC 9106 and OWASP's cheat sheet (19 MiB, two passes, one lane). A hash takes tens of
milliseconds and its memory by design; the bound keeps a flood of sign-ins from taking all of both.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import argon2

from db.settings import Settings


class PasswordHasher:
    """Hashes and verifies passwords off the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._argon2 = argon2.PasswordHasher(
            time_cost=settings.password_hash_iterations,
            memory_cost=settings.password_hash_memory_kib,
            parallelism=1,
        )
        self._threads = ThreadPoolExecutor(settings.password_hash_threads, thread_name_prefix="argon2")
        self._decoy = self._argon2.hash("no user has this password")

    def close(self) -> None:
        """Let the threads go; what is being hashed is finished first."""
        self._threads.shutdown()

    async def hash(self, password: str) -> str:
        """Return the encoded hash of `password`, with its salt and parameters."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._argon2.hash, password)

    async def verify(self, hashed_password: str | None, password: str) -> bool:
        """Say whether `password` made `hashed_password`; for None the answer is no, after the same work.

        The work is the same so that the time does not tell whether there is such a user.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._verify, hashed_password, password)

    def _verify(self, hashed_password: str | None, password: str) -> bool:
        try:
            self._argon2.verify(self._decoy if hashed_password is None else hashed_password, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
        return hashed_password is not None
