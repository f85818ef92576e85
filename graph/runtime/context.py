"""The context of resolvers: the process's services, the viewer, the loaders, and the selected columns.

The context holds the database, never a session or connection, because root fields run concurrently, and so do the
fields of a payload. The one exception is a query of money: its snapshot runs one read after another. Each operation has
its own context.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import strawberry
from asyncpg import Record

from db.access import Viewer
from db.connections.database import Database
from db.connections.statements import Reader, Statement
from db.connections.waiting import TurnKey
from db.errors import Unavailable
from db.events import Events
from db.ledger.group_commit import TransferGroups
from db.ledger.settlement import Movement, Settlement
from db.query.pages import Columns
from db.settings import Settings
from graph.analysis.selection import Selection
from graph.runtime.edge_loaders import Running
from graph.runtime.loaders import Loaders
from graph.runtime.passwords import PasswordHasher
from graph.runtime.tokens import TokenSigner
from graph.runtime.worker_thread import WorkerThread

T = TypeVar("T")

caller_address: ContextVar[str] = ContextVar("caller_address", default="unknown")
"""The client address of the current mutation, in the form of the budgets: for IPv6 the /64 network."""


@dataclass(frozen=True, slots=True)
class Services:
    """The services of the process.

    Attributes:
        transfers: settles transfers; it groups concurrent ones.
        worker: the thread for work that would block the event loop for long.
        events: the live updates.
    """

    settings: Settings
    database: Database
    passwords: PasswordHasher
    tokens: TokenSigner
    transfers: TransferGroups
    worker: WorkerThread
    events: Events


@dataclass(slots=True)
class Context:
    """The state of one operation.

    Attributes:
        viewer: the caller. A sign-in changes it, so that the payload shows what the new viewer may see.
        snapshot: the single database state that the operation reads; None if each statement reads the newest state.
        committing: whether a COMMIT was sent. If so, an operation that ends early may have written.
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
        self.loaders = Loaders(self.snapshot or self.services.database, self.viewer, self.running)

    @property
    def reader(self) -> Reader:
        """The reader of queries: the snapshot if the operation has one, else the pool."""
        return self.snapshot or self.services.database

    @property
    def database(self) -> Database:
        """The pool. Each fetch uses a separate connection."""
        return self.services.database

    def switch_viewer(self, viewer: Viewer) -> None:
        """Continue as `viewer`, with new loaders: nothing that was loaded for another viewer is reused."""
        self.viewer = viewer
        self.loaders = Loaders(self.reader, viewer, self.running)

    def turn(self, keys: Iterable[TurnKey]) -> AbstractAsyncContextManager[None]:
        """Wait for the turn to write some rows; see `db.connections.statements.Writer`."""
        return self.services.database.turn(keys)

    async def write(self, work: Callable[[Reader], Awaitable[T]]) -> T:
        """Run `work` as one transaction. All loaders are cleared, because loaded values may be outdated."""
        before = self.committing

        async def then_commit(transaction: Reader) -> T:
            self.committing = before  # this is a retry: the conflict at COMMIT has left nothing behind
            result = await work(transaction)
            self.committing = True
            return result

        try:
            return await self.services.database.write(then_commit)
        except Exception as error:
            self.committing = before or _may_be_written(error)
            raise
        finally:
            self.loaders.clear()

    async def autocommit_write(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        """Try a write of one statement, which commits itself; see `Writer`."""
        before = self.committing
        try:
            rows = await self.services.database.autocommit_write(statement, values, self)
        except Exception as error:
            self.committing = before or _may_be_written(error)
            raise
        finally:
            self.loaders.clear()
        self.committing = before or bool(rows)
        return rows

    def transfer(self, columns: Columns, movement: Movement) -> Coroutine[Any, Any, Settlement]:
        """Make a transfer, in one group with concurrent transfers (`db.ledger.group_commit`).

        Raises:
            Refusal: as `db.ledger.settlement.settle`.
            Unavailable: as `db.ledger.settlement.settle`.
        """
        before = self.committing

        def note(may_be_made: bool) -> None:
            self.committing = before or may_be_made
            self.loaders.clear()

        return self.services.transfers.settle(self, self.viewer, columns, movement, note)


def _may_be_written(error: Exception) -> bool:
    return isinstance(error, Unavailable) and error.outcome_unknown


Info = strawberry.Info[Context, None]


def columns_below(info: Info, row_type: str, *always: str) -> Columns:
    """Return the columns of `row_type` that the selection below this field needs, and the columns in `always`."""
    return info.context.selection.columns(str(info.path.typename), info.field_name, row_type, always)
