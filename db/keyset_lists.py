"""Lists, as everybody reads them: a page, how many there are, and whether there is more behind.

Each comes for the list as a whole, or for the list of each of many parents by one statement. A page may bring along a
page for each of its rows (`db.nested_pages`).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from asyncpg import Record

from db import list_statements
from db.list_statements import STATEMENTS_KEPT_MAX, ListSource
from db.nested_pages import Nested, nested_arranged, nested_parameters, page_with_nested
from db.pages import Columns, Filter, Page, PageForm, PageRequest, page_of
from db.statements import Reader
from db.viewer import Viewer

PagesById = Mapping[int, Page]


@lru_cache(STATEMENTS_KEPT_MAX)
def _page_arranged(form: PageForm) -> Callable[[Sequence[Record]], Page]:
    """Return what makes the page of the one record of arrays; the same for the same arguments."""

    def arranged(records: Sequence[Record]) -> Page:
        return page_of(form, list(records[0]))

    return arranged


@lru_cache(STATEMENTS_KEPT_MAX)
def _counted_page_arranged(form: PageForm) -> Callable[[Sequence[Record]], Page]:
    """Return what makes the page of such a record that ends with how many rows the list has."""

    def arranged(records: Sequence[Record]) -> Page:
        *arrays, total = records[0]
        return page_of(form, arrays, total)

    return arranged


@lru_cache(STATEMENTS_KEPT_MAX)
def _pages_arranged(form: PageForm) -> Callable[[Sequence[Record]], PagesById]:
    """Return what makes the pages of one such record for each parent, whose id it begins with."""

    def arranged(records: Sequence[Record]) -> PagesById:
        pages = {}
        for parent_id, *arrays in records:
            pages[parent_id] = page_of(form, arrays)
        return pages

    return arranged


class KeysetList(ListSource):
    """A list that can be read."""

    async def page(
        self,
        reader: Reader,
        viewer: Viewer,
        columns: Columns,
        given: Filter,
        request: PageRequest,
        nested: Sequence[Nested] = (),
        *,
        counted: bool = False,
    ) -> Page:
        """Return one page of the whole list; `columns` are not empty, and hold the keys of what is `nested`.

        Where it is `counted`, and nothing is nested, it brings along how many rows the list has.
        """
        values = {**given, **request.parameters(), "viewer_id": viewer.user_id}
        filters, shape, form = frozenset(given), request.shape, PageForm.of(columns, request)
        if nested:
            shapes = tuple([one.shape for one in nested])
            statement = page_with_nested(self, columns, viewer.audience, filters, shape, shapes)
            values |= nested_parameters(nested)
            arrange = nested_arranged(form, tuple([(one.key, one.form) for one in nested]))
        elif counted:
            statement = list_statements.counted_page(self, columns, viewer.audience, filters, shape)
            arrange = _counted_page_arranged(form)
        else:
            statement = list_statements.page(self, columns, viewer.audience, filters, shape)
            arrange = _page_arranged(form)
        return await reader.arranged(statement, values, arrange)

    async def pages_by_parent(
        self,
        reader: Reader,
        viewer: Viewer,
        columns: Columns,
        given: Filter,
        request: PageRequest,
        parent_ids: Sequence[int],
    ) -> list[Page]:
        """Return a page for each of `parent_ids`, in their order, by one statement."""
        statement = list_statements.pages_by_parent(self, columns, viewer.audience, frozenset(given), request.shape)
        values = {**given, **request.parameters(), "viewer_id": viewer.user_id}
        arrange = _pages_arranged(PageForm.of(columns, request))
        pages = await reader.arranged(statement, values, arrange, parent_ids)
        return list(map(pages.__getitem__, parent_ids))

    async def count(self, reader: Reader, viewer: Viewer, given: Filter) -> int:
        """Return how many rows the list has."""
        statement = list_statements.count(self, viewer.audience, frozenset(given))
        count: int = await reader.arranged(statement, {**given, "viewer_id": viewer.user_id}, _only_value)
        return count

    async def counts_by_parent(
        self, reader: Reader, viewer: Viewer, given: Filter, parent_ids: Sequence[int]
    ) -> list[int]:
        """Return how many rows the list of each of `parent_ids` has, in their order, by one statement."""
        statement = list_statements.counts_by_parent(self, viewer.audience, frozenset(given))
        values = {**given, "viewer_id": viewer.user_id}
        counts = await reader.keyed(statement, values, parent_ids, "id")
        return [counts[parent_id][1] for parent_id in parent_ids]

    async def behind(self, reader: Reader, viewer: Viewer, given: Filter, request: PageRequest) -> bool:
        """Say whether rows lie at the position of `request` or on the side of it that its page does not show."""
        statement = list_statements.behind(self, viewer.audience, frozenset(given), request.side)
        values = {**given, **request.parameters(), "viewer_id": viewer.user_id}
        answer: bool = await reader.arranged(statement, values, _only_value)
        return answer

    async def behind_by_parent(
        self, reader: Reader, viewer: Viewer, given: Filter, request: PageRequest, parent_ids: Sequence[int]
    ) -> list[bool]:
        """As `behind`, for the list of each of `parent_ids`, in their order, by one statement."""
        statement = list_statements.behind_by_parent(self, viewer.audience, frozenset(given), request.side)
        values = {**given, **request.parameters(), "viewer_id": viewer.user_id}
        answers = await reader.keyed(statement, values, parent_ids, "id")
        return [answers[parent_id][1] for parent_id in parent_ids]


def _only_value(records: Sequence[Record]) -> Any:
    return records[0][0]
