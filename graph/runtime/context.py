"""What a resolver has at hand: the process's services, who asks, the loaders, and what the operation selects.

The context carries the database, never a session or connection: root fields run concurrently, and so do the fields of
a payload. The one exception is a query of money, whose snapshot lets its reads take turns. One context belongs to one
operation and dies with it.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

import strawberry
from asyncpg import Record

from db.access import Viewer
from db.connections.database import Database
from db.connections.statements import Reader, Statement
from db.connections.waiting import TurnKey
from db.errors import Unavailable
from db.ledger.group_commit import TransferGroups
from db.ledger.settlement import Movement, Settlement
from db.query.pages import Columns
from db.settings import Settings
from graph.analysis.selection import Selection
from graph.runtime.loaders import Loaders, Running
from graph.runtime.passwords import PasswordHasher
from graph.runtime.tokens import TokenSigner
from graph.runtime.worker_thread import WorkerThread

T = TypeVar("T")

caller_address: ContextVar[str] = ContextVar("caller_address", default="unknown")
"""Where the mutation under way came from, as the budgets know it: of IPv6 the /64."""


@dataclass(frozen=True, slots=True)
class Services:
    """What lives as long as the process.

    Attributes:
        transfers: settles transfers, in groups where many come at once.
        worker: the thread for what would hold the event loop for long.
    """

    settings: Settings
    database: Database
    passwords: PasswordHasher
    tokens: TokenSigner
    transfers: TransferGroups
    worker: WorkerThread


@dataclass(slots=True)
class Context:
    """What lives as long as one operation.

    Attributes:
        viewer: who asks. A sign-in changes it, so that the payload shows what the new viewer may see.
        snapshot: the one state of the database that the operation sees; None where each statement sees the newest.
        committing: whether a COMMIT was sent, so that an operation that ends early may have written.
        running: the tasks that read for the operation.
    """

    services: Services
    viewer: Viewer
    selection: Selection
    snapshot: Reader | None = None
    loaders: Loaders = field(init=False)
    committing: bool = field(init=False, default=False)
    running: Running = field(init=False, default_factory=Running)

    def __post_init__(self) -> None:
        self.loaders = Loaders(self.reader, self.viewer, self.running)

    @property
    def reader(self) -> Reader:
        """What queries read through: the snapshot where there is one, else the pool."""
        return self.snapshot or self.services.database

    @property
    def database(self) -> Database:
        """The pool; every fetch is on a connection of its own."""
        return self.services.database

    def switch_viewer(self, viewer: Viewer) -> None:
        """Go on as `viewer`, with loaders that have seen nothing as anybody else."""
        self.viewer = viewer
        self.loaders = Loaders(self.reader, viewer, self.running)

    def turn(self, keys: Iterable[TurnKey]) -> AbstractAsyncContextManager[None]:
        """Wait for the turn to write some rows, as `db.connections.statements.Writer` says."""
        return self.database.turn(keys)

    async def write(self, work: Callable[[Reader], Awaitable[T]]) -> T:
        """Run `work` as one transaction; whatever was loaded before is forgotten, for it may be outdated."""
        before = self.committing

        async def then_commit(transaction: Reader) -> T:
            self.committing = before  # of a conflict at COMMIT nothing has happened
            result = await work(transaction)
            self.committing = True
            return result

        try:
            return await self.database.write(then_commit)
        except Exception as error:
            self.committing = before or _may_be_written(error)
            raise
        finally:
            self.loaders.clear()

    async def autocommit_write(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        """Try a write that is one statement, and so a transaction of its own; see `Writer`."""
        before = self.committing

        def sending() -> None:
            self.committing = True

        try:
            rows = await self.database.autocommit_write(statement, values, sending)
        except Exception as error:
            self.committing = before or _may_be_written(error)
            raise
        finally:
            self.loaders.clear()
        self.committing = before or bool(rows)
        return rows

    async def transfer(self, columns: Columns, movement: Movement) -> Settlement:
        """Make a transfer, together with those of others where many come at once (`db.ledger.group_commit`).

        Raises:
            Refusal: as `db.ledger.settlement.settle`.
            Unavailable: likewise.
        """
        before = self.committing

        def note(may_be_made: bool) -> None:
            self.committing = before or may_be_made

        try:
            return await self.services.transfers.settle(self, self.viewer, columns, movement, note)
        finally:
            self.loaders.clear()


def _may_be_written(error: Exception) -> bool:
    return isinstance(error, Unavailable) and error.outcome_unknown


Info = strawberry.Info[Context, None]


def columns_below(info: Info, row_type: str, *always: str) -> Columns:
    """Return the columns of `row_type` that the selection below this field needs, with those that are `always` read."""
    return info.context.selection.columns(str(info.path.typename), info.field_name, row_type, always)
