"""Group commit: transfers that clients ask for at the same time share a transaction (DeWitt et al., SIGMOD 1984).

A transfer alone is one statement, whose price is mostly that of its commit. Where several are under way, those that
come meanwhile wait in a line. One task takes the whole line, settles it as a batch (`db.ledger.batches`), and takes
what has come since. Nobody waits for more to come: a group is as large as the load makes it.

Invariants:

- A group is an attempt. Where it fails, for whatever reason, each transfer of it is settled by itself, as if it had
  never been in one; where the answer to COMMIT is lost, its key tells what became of it. So no caller's fault, lock or
  limit of time is another's.
- A group waits for a lock for LOCK_WAIT_MS at most, and takes GROUP_LIMIT_S at most. What others hold for longer, and a
  backend that does not answer, delay each transfer by so much at most.
- One task runs all groups, and ends with the block of `running`. Should it end before, each transfer is settled by
  itself from then on. The line holds what callers wait for, and no more: a caller who goes away takes the transfer
  along, unless it is being made.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from sqlalchemy import text

from db.access import Viewer
from db.connections.database import Database
from db.connections.statements import Reader, Statement, Writer
from db.errors import Unavailable
from db.ledger.batches import Asked, ClaimKey, settle_asked
from db.ledger.settlement import Movement, Settlement, check_memo, claiming, settle
from db.query.pages import Columns

logger = logging.getLogger(__name__)

# Two at once use two connections as well as a group would.
ALONE_MAX = 2
GROUP_MAX = 200
LOCK_WAIT_MS = 100
GROUP_LIMIT_S = 1.0
# Of the rows of the ledger: what any caller may select.
COLUMNS: Columns = ("id", "from_id", "to_id", "amount", "memo", "created_at", "currency_code")
_WAIT_LITTLE = Statement(text(f"SELECT set_config('lock_timeout', '{LOCK_WAIT_MS}ms', true)"))


class _Waiting:
    """A transfer in line.

    Attributes:
        note: called with whether it may be made by now; None where nobody wants to know any more.
        outcome: what became of it; None where its caller is to settle it.
        is_unknown: whether there was an attempt of which nobody knows whether it has happened.
    """

    __slots__ = ("asked", "is_unknown", "note", "outcome")

    def __init__(self, asked: Asked, note: Callable[[bool], None]) -> None:
        self.asked = asked
        self.note: Callable[[bool], None] | None = note
        self.outcome: asyncio.Future[Settlement | None] = asyncio.get_running_loop().create_future()
        self.is_unknown = False


class TransferGroups:
    """Settles the transfers of a process, in groups where many come at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._line: dict[ClaimKey, _Waiting] = {}
        self._alone = 0
        self._arrival = asyncio.Event()
        self._is_running = False

    async def settle(
        self, writer: Writer, viewer: Viewer, columns: Columns, movement: Movement, note: Callable[[bool], None]
    ) -> Settlement:
        """Make a transfer once for its key, as `settle` does; a reused key may be a refusal returned.

        Args:
            writer: the caller's own, for what is not settled in a group.
            viewer: who asks.
            columns: of the ledger row; there may be others.
            movement: a transfer.
            note: called with True when the transfer is about to be made in a group, with False when it was not made.

        Raises:
            Refusal: as `db.ledger.settlement.settle`.
            Unavailable: likewise.
        """
        check_memo(movement)
        movement, is_unknown = claiming(movement), False
        if self._is_running and (self._line or self._alone >= ALONE_MAX):
            asked = Asked(viewer, movement, movement.request_hash())
            if asked.key not in self._line:
                outcome, is_unknown = await self._in_group(_Waiting(asked, note))
                if outcome is not None:
                    return outcome
        self._alone += 1
        try:
            return await settle(writer, viewer, columns, movement, is_unknown=is_unknown)
        finally:
            self._alone -= 1

    async def _in_group(self, waiting: _Waiting) -> tuple[Settlement | None, bool]:
        key = waiting.asked.key
        self._line[key] = waiting
        self._arrival.set()
        try:
            outcome = await waiting.outcome
            if outcome is None and not waiting.is_unknown and waiting.note is not None:
                waiting.note(False)
        finally:
            waiting.note = None
            if self._line.get(key) is waiting:
                del self._line[key]
        return outcome, waiting.is_unknown

    # ------------------------------------------------------------ the task

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run groups within the block."""
        task = asyncio.create_task(self._run(), name="transfer groups")
        self._is_running = True
        # However the task ends, and also where it never began: nobody waits for it any more.
        task.add_done_callback(self._end)
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _end(self, _: object) -> None:
        self._is_running = False
        _leave_to_callers(self._line.values(), is_unknown=False)

    async def _run(self) -> None:
        while True:
            await self._arrival.wait()
            self._arrival.clear()
            while self._line:
                group = [self._line.pop(key) for key in list(self._line)[:GROUP_MAX]]
                try:
                    await self._settle(group)
                finally:
                    _leave_to_callers(group, is_unknown=True)

    async def _settle(self, group: Sequence[_Waiting]) -> None:
        for one in group:
            if one.note is not None:
                one.note(True)
        outcomes, is_known = await self._written([one.asked for one in group])
        for one in group:
            one.is_unknown = not is_known
            if not one.outcome.done():
                one.outcome.set_result(outcomes.get(one.asked.key))

    async def _written(self, asked: Sequence[Asked]) -> tuple[Mapping[ClaimKey, Settlement], bool]:
        """Return what became of a group, and whether it is known: of none of them anything, where it failed."""

        async def made(transaction: Reader) -> Mapping[ClaimKey, Settlement]:
            await transaction.fetch(_WAIT_LITTLE, {})
            return await settle_asked(transaction, COLUMNS, asked)

        try:
            async with asyncio.timeout(GROUP_LIMIT_S):
                return await self._database.write(made), True
        except TimeoutError:
            logger.warning("a group of %d transfers took too long, and is settled one by one", len(asked))
            return {}, False
        except Unavailable as error:
            logger.info("a group of %d transfers is settled one by one: %s", len(asked), error)
            return {}, not error.outcome_unknown
        except Exception:
            logger.exception("a group of %d transfers is settled one by one", len(asked))
            return {}, False


def _leave_to_callers(waiting: Iterable[_Waiting], *, is_unknown: bool) -> None:
    """Have those who wait yet settle their transfers themselves."""
    for one in waiting:
        if not one.outcome.done():
            one.is_unknown = is_unknown
            one.outcome.set_result(None)
