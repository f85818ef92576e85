"""The loader of one page of a list without a parent."""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence

from db.connections.coalescing import PendingRead
from db.errors import copy_of
from db.query.pages import Page
from graph.runtime.edge_loaders import NestedLoaders, RequestedPage
from graph.runtime.loaders import Loaders

ONLY_KEY = 0
"""The key of the page: its loader reads no other."""


class ListLoader:
    """Reads one page of a list, with `nested` pages below its rows.

    With `has_total`, its statement counts the list, unless another field of the operation has it counted, or there are
    nested pages.

    Attributes:
        name: None: it reads by no key, so that there are no batches.
        brings: the loaders that have the nested pages afterwards.
    """

    __slots__ = ("_counted", "_lists", "_loaders", "_reader", "_requested", "brings", "name")

    def __init__(self, loaders: Loaders, page: RequestedPage, nested: NestedLoaders, *, has_total: bool) -> None:
        self._loaders = loaders
        self._reader = loaders.reader
        self._requested = page
        self._lists = nested.lists
        self._counted = has_total and not nested.lists
        self.name = None
        self.brings = nested.brings

    def pending_read(self, _: int) -> PendingRead | None:
        """Return the pending read of the page, for a callback; None if the reader does not coalesce reads."""
        reading = self._page(counted=self._counted)
        if isinstance(reading, PendingRead):
            return reading
        if isinstance(reading, Coroutine):
            reading.close()
        return None

    def take(self, answer: Page, _: int) -> tuple[Page, int]:
        """Return the page, and how many rows it has. The loaders of nested pages receive their pages."""
        if self.brings:
            for loader, pages in zip(self.brings, answer.nested, strict=True):
                loader.known.update(pages)
            answer.included_loaders = tuple([loader.identity for loader in self.brings])
        return answer, answer.size

    async def load_level(self, keys: Sequence[int]) -> list[Page]:
        """Return the page, for the only key."""
        return [await self.load(keys[0])]

    async def load(self, _: int) -> Page:
        """Return the page."""
        page = await (self._counted_page() if self._counted else self._page(counted=False))
        return self.take(page, ONLY_KEY)[0]

    def _page(self, *, counted: bool) -> Awaitable[Page]:
        page, nested = self._requested, self._lists
        return page.of.page(
            self._reader, self._loaders.viewer, page.columns, page.given, page.request, nested, counted=counted
        )

    async def _counted_page(self) -> Page:
        """Return a page. Its statement counts the list too, unless another field of the operation has it counted."""
        of, given = self._requested.of, self._requested.given
        told = self._loaders.counted(of, given)
        if told is None:
            return await self._page(counted=False)
        try:
            page = await self._page(counted=True)
        except asyncio.CancelledError:
            # This field was cancelled, but other fields may wait for the number.
            self._loaders.count_instead(of, given, told)
            raise
        except Exception as error:
            if not told.done():
                told.set_exception(copy_of(error))
                told.exception()  # marks it as retrieved: possibly no other field awaits it
            raise
        if not told.done():
            told.set_result(page.total or 0)
        return page
