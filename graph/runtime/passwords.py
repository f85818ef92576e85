"""Passwords: hashed with argon2id, in a bounded pool of threads and never on the event loop.

The parameters follow RFC 9106 and OWASP's cheat sheet (19 MiB, two passes, one lane). A hash takes tens of
milliseconds and its memory by design; the bound keeps a flood of sign-ins from taking all of both. Those that wait for
a thread stand in a line of bounded length. One more is refused at once, so that nobody waits longer than some seconds.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2

from db.errors import Unavailable
from db.settings import Settings

# How many passwords wait for each thread, itself included: with the usual parameters for about a second.
WAITING_PER_THREAD_MAX = 32

R = TypeVar("R")


class PasswordHasher:
    """Hashes and verifies passwords off the event loop.

    Attributes:
        waiting: how many passwords are being hashed, or wait for it.
    """

    def __init__(self, settings: Settings) -> None:
        self._argon2 = argon2.PasswordHasher(
            time_cost=settings.password_hash_iterations,
            memory_cost=settings.password_hash_memory_kib,
            parallelism=1,
        )
        self._threads = ThreadPoolExecutor(settings.password_hash_threads, thread_name_prefix="argon2")
        self.waiting = 0
        self._waiting_max = WAITING_PER_THREAD_MAX * settings.password_hash_threads
        self._decoy = self._argon2.hash("no user has this password")

    def close(self) -> None:
        """Let the threads go; what is being hashed is finished first."""
        self._threads.shutdown()

    async def hash(self, password: str) -> str:
        """Return the encoded hash of `password`, with its salt and parameters.

        Raises:
            Unavailable: too many wait already.
        """
        return await self._run(lambda: self._argon2.hash(password))

    async def verify(self, hashed_password: str | None, password: str) -> bool:
        """Say whether `password` made `hashed_password`; for None the answer is no, after the same work.

        The work is the same so that the time does not tell whether there is such a user.

        Raises:
            Unavailable: too many wait already.
        """
        return await self._run(lambda: self._verify(hashed_password, password))

    async def _run(self, work: Callable[[], R]) -> R:
        if self.waiting >= self._waiting_max:
            reason = f"{self.waiting} wait"
            raise Unavailable("OVERLOADED", "too many passwords are being checked; try again shortly", reason=reason)
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self.waiting -= 1

    def _verify(self, hashed_password: str | None, password: str) -> bool:
        try:
            self._argon2.verify(self._decoy if hashed_password is None else hashed_password, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
        return hashed_password is not None
