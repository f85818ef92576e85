"""Tables that several operations share: their output is rendered once, and each operation has its own response."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest
from graphql import ExecutionResult, OperationDefinitionNode, parse

from graph.execution import DECLARATION, Derived, Prepared
from graph.execution.run.tables import Table
from tests.graph.execution.support.comparing import both
from tests.graph.execution.support.declared import BOOKS, SCHEMA, Shelf, listing_fields

RUNS = 5
TITLES = ["Book 1", "Book 4"]


class Read(list[Any]):
    """A column that counts how often it is read."""

    times = 0

    def __iter__(self) -> Iterator[Any]:
        self.times += 1
        return super().__iter__()


def table_of(*numbers: int) -> Table:
    rows = [BOOKS[number] for number in numbers]
    return Table({name: Read(row[name] for row in rows) for name in BOOKS[1]}, len(rows))


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    """The value of `fewBooks` for every operation: one table, as if one statement had read it for all of them."""
    return shared(table_of(1, 4), monkeypatch)


def shared(table: Table, monkeypatch: pytest.MonkeyPatch) -> Table:
    for field in listing_fields():
        if field.python_name == "few_books":
            declared = Derived(lambda _: table, bare=True, table=True)
            monkeypatch.setattr(field, "metadata", {**field.metadata, DECLARATION: declared})
    return table


def prepared(text: str, *, as_text: bool = True) -> Prepared:
    document = parse(text)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    return Prepared(SCHEMA, document, operation, text=of_json if as_text else None)


def of_json(answers: list[Any]) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps(answers))


async def answers(*operations: Prepared) -> list[Any]:
    return [orjson.loads(orjson.dumps((await one.run({}, Shelf())).data)) for one in operations]


def reads(table: Table, name: str) -> int:
    column: Any = table.columns[name]
    times: int = column.times
    return times


@pytest.mark.parametrize("as_text", [True, False])
async def test_operations_that_share_a_table_read_its_rows_once(table: Table, as_text: bool) -> None:
    operation = prepared("{ fewBooks { title } }", as_text=as_text)
    assert await answers(*[operation] * RUNS) == [{"fewBooks": [{"title": title} for title in TITLES]}] * RUNS
    assert reads(table, "title") == 1


async def test_first_operation_gets_lists_and_the_others_get_text_that_is_rendered_once(table: Table) -> None:
    operation = prepared("{ fewBooks { title } }")
    results: list[Any] = [await operation.run({}, Shelf()) for _ in range(3)]
    first, second, third = (result.data["fewBooks"] for result in results)
    assert type(first) is list
    assert type(second) is orjson.Fragment
    assert second is third


async def test_each_selection_on_a_shared_table_has_its_own_output(table: Table) -> None:
    texts = ["{ fewBooks { title } }", "{ fewBooks { id } }", "{ one: fewBooks { a: title } two: fewBooks { pages } }"]
    expected = [
        {"fewBooks": [{"title": "Book 1"}, {"title": "Book 4"}]},
        {"fewBooks": [{"id": "book_1"}, {"id": "book_4"}]},
        {"one": [{"a": "Book 1"}, {"a": "Book 4"}], "two": [{"pages": 100}, {"pages": 400}]},
    ]
    operations = [prepared(text) for text in texts]
    assert await answers(*operations, *operations, *operations) == expected * 3


async def test_field_that_one_operation_skips_is_in_the_output_of_the_other(table: Table) -> None:
    operation = prepared("query ($more: Boolean!) { fewBooks { title pages @include(if: $more) } }")
    found = [orjson.loads(orjson.dumps((await operation.run({"more": n % 2 == 0}, Shelf())).data)) for n in range(6)]
    with_pages = {"fewBooks": [{"title": "Book 1", "pages": 100}, {"title": "Book 4", "pages": 400}]}
    assert found == [with_pages, {"fewBooks": [{"title": title} for title in TITLES]}] * 3


async def test_error_in_a_shared_row_is_reported_to_each_operation_at_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = shared(table_of(1, 4, 1), monkeypatch)
    table.columns["title"][1] = None
    operation = prepared("{ fewBooks { id title } }")

    def response(result: ExecutionResult) -> tuple[Any, Sequence[Any]]:
        return result.data, [error.formatted for error in result.errors or ()]

    expected = {
        "message": "Cannot return null for non-nullable field Book.title.",
        "locations": [{"line": 1, "column": 17}],
        "path": ["fewBooks", 1, "title"],
    }
    assert [response(await operation.run({}, Shelf())) for _ in range(RUNS)] == [(None, [expected])] * RUNS


async def test_error_elsewhere_keeps_the_rows_of_a_shared_table(table: Table) -> None:
    operation = prepared("{ fewBooks { title } nobody { later(fails: true) } }")
    results = [await operation.run({}, Shelf()) for _ in range(RUNS)]
    assert [result.data for result in results] == [
        {"fewBooks": [{"title": title} for title in TITLES], "nobody": None}
    ] * RUNS
    assert all(result.errors for result in results)


async def test_rows_with_reads_below_them_are_not_shared(table: Table) -> None:
    text = "{ fewBooks { title author { place } } }"
    await both(SCHEMA, text, None, context=Shelf)
    operation, shelves = prepared(text), [Shelf() for _ in range(3)]
    for shelf in shelves:
        await operation.run({}, shelf)
    places = [("fewBooks", number, "author", "place") for number in range(2)]
    assert [list(shelf.paths) for shelf in shelves] == [places] * 3
