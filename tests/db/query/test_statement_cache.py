"""The cache of statements: a bound in bytes for all functions together; a cached statement is the same object."""

import gc
import inspect
import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from db.access import ANONYMOUS
from db.connections.database import Database
from db.connections.statements import Statement
from db.query import list_statements
from db.query.nested_pages import Nested, NestedShape, page_with_nested
from db.query.pages import PageRequest, PageShape
from db.query.statement_cache import StatementCache, statements
from db.repositories.posts import POSTS
from db.repositories.users import USERS
from tests.db.query.test_nested_pages import NEWEST_USERS
from tests.db.support.listed_posts import COLUMNS, NEWEST_FIRST

# These lists belong to this module: statements of other tests in the process are not cached for them.
LISTED, OUTER = replace(POSTS), replace(USERS)
NO_FILTER = frozenset[str]()
USERS_PAGE = PageRequest(NEWEST_USERS, 20).kind.shape
FILTERS = ("views_gte", "views_lte", "created_at_gte", "created_at_lt")


def columns() -> Iterator[tuple[str, ...]]:
    """Yield all sets of columns of a post, without end."""
    for size in itertools.cycle(range(1, len(COLUMNS) + 1)):
        yield from itertools.combinations(COLUMNS, size)


def distinct(count: int, nested: int) -> list[tuple[NestedShape, ...]]:
    """Return shapes of nested pages; no two are equal."""
    pages = [PageRequest(NEWEST_FIRST, 10, backward).kind.shape for backward in (False, True)]
    each = zip(columns(), itertools.cycle(pages), strict=False)
    shapes = (NestedShape(LISTED, names, frozenset(FILTERS[:2]), page, "id") for names, page in each)
    built = [tuple(itertools.islice(shapes, nested + turn % 2)) for turn in range(count)]
    assert len(set(built)) == count
    return built


@pytest.fixture
def traced() -> Iterator[Callable[[], int]]:
    """Yield a function that returns how many bytes were allocated since the start of the test and are still held."""
    # SQLAlchemy keeps these by class and column, independent of the number of statements.
    for nested in distinct(2, 3):
        page_with_nested(OUTER, ("id",), ANONYMOUS.access_level, NO_FILTER, USERS_PAGE, nested)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()

    def held() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    yield held
    tracemalloc.stop()


@pytest.mark.long("a flood of statements")
def test_flood_of_nested_pages_takes_no_more_memory_than_the_bound(traced: Callable[[], int]) -> None:
    bytes_max = 500_000
    cache = StatementCache(bytes_max)
    kept = cache(inspect.unwrap(page_with_nested))
    for nested in distinct(60, 5):
        kept(OUTER, ("id", "username"), ANONYMOUS.access_level, NO_FILTER, USERS_PAGE, nested)
    assert 0.5 * bytes_max < cache.size_bytes <= bytes_max
    assert len(cache) < 60
    assert traced() < 1.25 * bytes_max


@pytest.mark.parametrize("nested", [1, 5, pytest.param(20, marks=pytest.mark.long("many statements"))])
async def test_page_with_nested_pages_is_counted_with_its_real_size(
    database: Database, traced: Callable[[], int], nested: int
) -> None:
    requests = [PageRequest(NEWEST_USERS, limit, looks_ahead=False) for limit in range(31, 46)]
    pages = distinct(len(requests), nested)
    counted = statements.size_bytes
    for request, shapes in zip(requests, pages, strict=True):
        given = dict.fromkeys(FILTERS[:2], 1)
        requested = [
            Nested(LISTED, one.columns, given, PageRequest(NEWEST_FIRST, 10, one.page.backward), "id") for one in shapes
        ]
        await OUTER.page(database, ANONYMOUS, ("id",), {}, request, requested)
    counted = statements.size_bytes - counted
    await database.close()  # the driver's cache of prepared statements is closed with it
    assert counted >= 0.8 * traced()
    assert traced() < len(requests) * (12_000 + 3_000 * nested)


def test_counts_are_counted_with_their_real_size(traced: Callable[[], int]) -> None:
    counted, kept = statements.size_bytes, len(statements)
    for size in range(len(FILTERS) + 1):
        for names in itertools.combinations(FILTERS, size):
            list_statements.count(LISTED, ANONYMOUS.access_level, frozenset(names))
            list_statements.counts_by_parent(LISTED, ANONYMOUS.access_level, frozenset(names))
    assert len(statements) == kept + 32
    assert statements.size_bytes - counted >= 0.8 * traced()


def test_all_statements_of_lists_are_kept_in_one_cache() -> None:
    shape = PageShape(NEWEST_FIRST, backward=False, continues=True, rows=77)
    nested = (NestedShape(LISTED, ("id",), NO_FILTER, shape, "author_id"),)
    before = len(statements)
    every: list[Callable[[], Statement]] = [
        lambda: list_statements.page(LISTED, ("id",), ANONYMOUS.access_level, NO_FILTER, shape),
        lambda: list_statements.counted_page(LISTED, ("id",), ANONYMOUS.access_level, NO_FILTER, shape),
        lambda: list_statements.pages_by_parent(LISTED, ("id",), ANONYMOUS.access_level, NO_FILTER, shape),
        lambda: list_statements.behind(LISTED, ANONYMOUS.access_level, NO_FILTER, shape),
        lambda: list_statements.behind_by_parent(LISTED, ANONYMOUS.access_level, NO_FILTER, shape),
        lambda: page_with_nested(LISTED, COLUMNS, ANONYMOUS.access_level, NO_FILTER, shape, nested),
    ]
    first = [request() for request in every]
    assert len(statements) == before + len(every)
    assert all(request() is statement for request, statement in zip(every, first, strict=True))
    assert len(statements) == before + len(every)


def test_least_recently_used_statement_is_evicted_first() -> None:
    built: list[object] = []

    @StatementCache(100_000)
    def kept(nested: tuple[NestedShape, ...]) -> Statement:
        built.append(nested)
        return page_with_nested(OUTER, ("id",), ANONYMOUS.access_level, NO_FILTER, USERS_PAGE, nested)

    shapes = distinct(40, 1)
    for nested in shapes:
        kept(shapes[0])
        kept(nested)
    kept(shapes[0])
    assert built == shapes  # the first shape was in use all the time
    kept(shapes[1])
    assert built == [*shapes, shapes[1]]
