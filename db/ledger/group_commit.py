"""Group commit: concurrent transfers share a transaction (DeWitt et al., SIGMOD 1984).

A single transfer is one statement, and most of its cost is the commit. While several are running, further ones wait in
a line. One task takes the whole line, settles it as a batch (`db.ledger.batches`), and then takes the transfers that
have arrived since. It never waits for more to arrive: a group is as large as the load makes it.

Invariants:

- A group is an attempt. If it fails for any reason, each of its transfers is settled separately, as if it had never
  been in a group. If the answer to COMMIT is lost, its key shows the outcome. So the fault, lock or time limit of one
  caller does not affect another.
- A group waits at most LOCK_WAIT_MS for a lock, and takes at most GROUP_LIMIT_S. A lock that is held for longer, and a
  backend that does not answer, delay each transfer by these times at most.
- One task runs all groups, and ends with the block of `running`. If it ends earlier, each transfer is settled
  separately from then on. The line holds only transfers whose callers wait: a caller that leaves removes its transfer,
  unless a group has already taken it.
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
from db.ledger.batches import ClaimKey, TransferRequest, settle_requests
from db.ledger.settlement import Movement, Settlement, check_memo, settle, with_claim
from db.query.pages import Columns

logger = logging.getLogger(__name__)

# Two transfers on two connections are as fast as a group of two.
UNGROUPED_MAX = 2
GROUP_MAX = 200
LOCK_WAIT_MS = 100
GROUP_LIMIT_S = 1.0
# The columns of the ledger row that any caller may select.
COLUMNS: Columns = ("id", "from_id", "to_id", "amount", "memo", "created_at", "currency_code")
_WAIT_LITTLE = Statement(text(f"SELECT set_config('lock_timeout', '{LOCK_WAIT_MS}ms', true)"))


class _Waiting:
    """A transfer in the line.

    Attributes:
        note: called with whether the transfer may have been made; None after the caller has left.
        outcome: the outcome; None if the caller must settle the transfer itself.
        is_unknown: whether there was an attempt whose outcome is unknown.
    """

    __slots__ = ("is_unknown", "note", "outcome", "request")

    def __init__(self, request: TransferRequest, note: Callable[[bool], None]) -> None:
        self.request = request
        self.note: Callable[[bool], None] | None = note
        self.outcome: asyncio.Future[Settlement | None] = asyncio.get_running_loop().create_future()
        self.is_unknown = False


class TransferGroups:
    """Settles the transfers of a process, in groups if many arrive at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._line: dict[ClaimKey, _Waiting] = {}
        self._ungrouped = 0
        self._arrival = asyncio.Event()
        self._is_running = False

    async def settle(
        self, writer: Writer, viewer: Viewer, columns: Columns, movement: Movement, note: Callable[[bool], None]
    ) -> Settlement:
        """Make a transfer once for its key, as `settle` does. A reused key may be returned as a refusal.

        `writer` is used for a transfer that is not settled in a group. The returned row may have more than `columns`.
        `note` is called with True before a group makes the transfer, and afterwards with whether it may have made it.

        Raises:
            Refusal: as for `db.ledger.settlement.settle`.
            Unavailable: as for `db.ledger.settlement.settle`.
        """
        movement, is_unknown = with_claim(movement), False
        if self._is_running and (self._line or self._ungrouped >= UNGROUPED_MAX):
            check_memo(movement)
            request = TransferRequest(viewer, movement, movement.request_hash())
            if request.key not in self._line:
                outcome, is_unknown = await self._in_group(_Waiting(request, note), note)
                if outcome is not None:
                    return outcome
        self._ungrouped += 1
        try:
            return await settle(writer, viewer, columns, movement, is_unknown=is_unknown)
        finally:
            self._ungrouped -= 1

    async def _in_group(self, waiting: _Waiting, note: Callable[[bool], None]) -> tuple[Settlement | None, bool]:
        key = waiting.request.key
        self._line[key] = waiting
        self._arrival.set()
        try:
            outcome = await waiting.outcome
            note(outcome is not None or waiting.is_unknown)
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
        # However the task ends, and even if it never began, no caller must wait for it.
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
        outcomes, is_known = await self._settle_together([one.request for one in group])
        for one in group:
            one.is_unknown = not is_known
            if not one.outcome.done():
                one.outcome.set_result(outcomes.get(one.request.key))

    async def _settle_together(self, requests: Sequence[TransferRequest]) -> tuple[Mapping[ClaimKey, Settlement], bool]:
        """Return the outcomes of a group, none if it failed, and whether it is known what was made."""

        async def settle_all(transaction: Reader) -> Mapping[ClaimKey, Settlement]:
            await transaction.fetch(_WAIT_LITTLE, {})
            return await settle_requests(transaction, COLUMNS, requests)

        try:
            async with asyncio.timeout(GROUP_LIMIT_S):
                return await self._database.write(settle_all), True
        except TimeoutError:
            logger.warning("a group of %d transfers took too long and is settled one by one", len(requests))
            return {}, False
        except Unavailable as error:
            logger.info("a group of %d transfers is settled one by one: %s", len(requests), error)
            return {}, not error.outcome_unknown
        except Exception:
            logger.exception("a group of %d transfers is settled one by one", len(requests))
            return {}, False


def _leave_to_callers(waiting: Iterable[_Waiting], *, is_unknown: bool) -> None:
    """Let the callers that still wait settle their transfers themselves."""
    for one in waiting:
        if not one.outcome.done():
            one.is_unknown = is_unknown
            one.outcome.set_result(None)
