"""Passwords: hashed with argon2id, in a bounded pool of threads and never on the event loop.

The parameters follow RFC 9106 and OWASP's cheat sheet (19 MiB, two passes, parallelism 1). By design a hash takes tens
of milliseconds and this memory; the pool keeps a flood of sign-ins from using up the processor and the memory. Sign-ins
wait for a thread in a queue of bounded length. When the queue is full, further ones are refused at once, so that no
client waits longer than some seconds.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2

from db.errors import Unavailable
from db.settings import Settings

# The passwords per thread, waiting or being hashed: with the default parameters a wait of about a second.
WAITING_PER_THREAD_MAX = 32

R = TypeVar("R")


class PasswordHasher:
    """Hashes and verifies passwords off the event loop.

    Attributes:
        waiting: the number of passwords that are being hashed or wait for a thread.
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
        """Stop the threads after all queued hashes are finished."""
        self._threads.shutdown()

    async def hash(self, password: str) -> str:
        """Return the encoded hash of `password`, with its salt and parameters.

        Raises:
            Unavailable: the queue is full.
        """
        return await self._run(lambda: self._argon2.hash(password))

    async def verify(self, hashed_password: str | None, password: str) -> bool:
        """Return whether `password` matches `hashed_password`; False for None, after the same work.

        The work is the same so that the time does not reveal whether the user exists.

        Raises:
            Unavailable: the queue is full.
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
