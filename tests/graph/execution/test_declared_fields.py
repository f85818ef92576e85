"""Declared fields: read level by level where the ordinary engine calls a resolver for each, with the same results."""

from collections.abc import Callable
from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse

from graph.execution import DECLARATION, Prepared
from tests.graph.execution.support.comparing import both
from tests.graph.execution.support.declared import (
    AUTHORS,
    SCHEMA,
    Loader,
    MissingError,
    Shelf,
    listing_fields,
    tabled,
)


@pytest.fixture(params=["rows", "tables"], autouse=True)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with lists of rows, and with the same rows as a table of columns."""
    if request.param == "tables":
        for field in listing_fields():
            metadata = {**field.metadata, DECLARATION: tabled(field.metadata[DECLARATION])}
            monkeypatch.setattr(field, "metadata", metadata)


async def answered(
    text: str, context: Callable[[], Shelf] = Shelf, variables: dict[str, Any] | None = None
) -> tuple[dict[str, Any], Shelf]:
    """Compare both engines; return the response, and the shelf of only the compiled engine's run."""
    result = await both(SCHEMA, text, variables, context=context)
    shelf, document = context(), parse(text)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    await Prepared(SCHEMA, document, operation).run(variables or {}, shelf)
    return result, shelf


def error(message: str, column: int, *path: str | int) -> dict[str, Any]:
    return {"message": message, "locations": [{"line": 1, "column": column}], "path": list(path)}


async def test_columns_prefixes_and_functions_of_the_row_are_read_without_a_loader() -> None:
    result, shelf = await answered("{ fewBooks { id title tags pages shout } }")
    assert result == {
        "data": {
            "fewBooks": [
                {"id": "book_1", "title": "Book 1", "tags": ["a"], "pages": 100, "shout": "BOOK 1"},
                {"id": "book_4", "title": "Book 4", "tags": ["a"], "pages": 400, "shout": "BOOK 4"},
            ]
        }
    }
    assert shelf.authors.requested == []


async def test_null_has_no_prefix() -> None:
    result, _ = await answered("{ authors { id mentorKey } }")
    assert result["data"] == {
        "authors": [
            {"id": "author_1", "mentorKey": None},
            {"id": "author_2", "mentorKey": "author_1"},
            {"id": "author_3", "mentorKey": "author_9"},
        ]
    }


async def test_null_column_of_a_non_null_field_is_an_error_with_its_path() -> None:
    result, _ = await answered("{ authors { id name } }")
    assert result == {
        "data": None,
        "errors": [error("Cannot return null for non-nullable field Author.name.", 16, "authors", 2, "name")],
    }


async def test_value_that_its_type_rejects_is_an_error_at_every_place() -> None:
    result, _ = await answered("{ fewBooks { wrong } }")
    assert result["data"] == {"fewBooks": [{"wrong": None}, {"wrong": None}]}
    assert [one["path"] for one in result["errors"]] == [["fewBooks", 0, "wrong"], ["fewBooks", 1, "wrong"]]


async def test_function_of_the_row_that_raises_is_an_error_of_only_its_field() -> None:
    result, _ = await answered("{ authors { bornMaybe penName } }")
    assert result == {
        "data": {
            "authors": [
                {"bornMaybe": "in 1815", "penName": "Ada"},
                {"bornMaybe": "in 1906", "penName": "Grace"},
                {"bornMaybe": None, "penName": None},
            ]
        },
        "errors": [error("nobody knows", 13, "authors", 2, "bornMaybe")],
    }


async def test_row_without_the_column_is_an_error_of_the_field() -> None:
    result, _ = await answered("{ fewBooks { lost title } }")
    assert result["data"] == {"fewBooks": [{"lost": None, "title": "Book 1"}, {"lost": None, "title": "Book 4"}]}
    assert [one["message"] for one in result["errors"]] == ["'no such column'", "'no such column'"]


@pytest.mark.parametrize("field", ["id", "mentor { id }", "teacher { id }", "penName later"])
async def test_object_without_a_row_is_an_error_of_the_fields_that_read_it(field: str) -> None:
    result, _ = await answered(f"{{ nobody {{ {field} }} }}")
    assert [one["message"] for one in result["errors"]] == ["'BookPage' object has no attribute 'row'"]


async def test_null_in_a_list_of_rows_is_null_or_ends_the_list() -> None:
    result, _ = await answered("{ holes { id author { id } __typename } gaps { __typename } }")
    assert result == {
        "data": {
            "holes": [
                {"id": "book_1", "author": {"id": "author_1"}, "__typename": "Book"},
                None,
                {"id": "book_4", "author": {"id": "author_3"}, "__typename": "Book"},
            ],
            "gaps": None,
        },
        "errors": [error("Cannot return null for non-nullable field Query.gaps.", 41, "gaps", 1)],
    }


async def test_edges_load_distinct_keys_once_per_level() -> None:
    result, shelf = await answered("{ few: fewBooks { editor { id } } books { editor { id mentor { id } } } }")
    assert result["data"]["books"] == [
        {"editor": {"id": "author_1", "mentor": None}},
        {"editor": {"id": "author_1", "mentor": None}},
        {"editor": None},
        {"editor": {"id": "author_3", "mentor": None}},
    ]
    assert shelf.authors.requested == [[1, 3], [9]]


async def test_edges_with_equal_arguments_share_a_call_and_others_do_not() -> None:
    result, shelf = await answered(
        """query ($n: Int!) {
            authors { a: books(longerThan: $n) { id } b: books(longerThan: 150) { title } books { id } }
        }""",
        variables={"n": 150},
    )
    assert result["data"]["authors"][0] == {
        "a": [{"id": "book_2"}],
        "b": [{"title": "Book 2"}],
        "books": [{"id": "book_1"}, {"id": "book_2"}],
    }
    assert {pages: loader.requested for pages, loader in shelf.books.items()} == {150: [[1, 2, 3]], 0: [[1, 2, 3]]}


async def test_missing_variable_means_the_default_of_an_edge() -> None:
    _, shelf = await answered("query ($n: Int = 250) { authors { books(longerThan: $n) { id } } }")
    assert list(shelf.books) == [250]
    _, shelf = await answered("query ($n: Int!) { authors { books(longerThan: $n) { id } } }", variables={"n": 7})
    assert list(shelf.books) == [7]


async def test_arguments_that_an_edge_refuses_are_an_error_of_each_of_its_places() -> None:
    result, shelf = await answered("{ nobody { later } authors { bookPage(longerThan: -1) { count } } }")
    assert result["data"] == {"nobody": {"later": "later"}, "authors": [{"bookPage": None}] * 3}
    message = "no book is shorter than nothing"
    assert result["errors"] == [error(message, 30, "authors", index, "bookPage") for index in range(3)]
    assert shelf.books == {}


async def test_missing_row_is_null_or_the_error_that_the_edge_names() -> None:
    result, _ = await answered("{ books { author { mentor { id } } } }")
    assert [book["author"]["mentor"] for book in result["data"]["books"]] == [None, None, {"id": "author_1"}, None]
    result, _ = await answered("{ fewBooks { editor { teacher { id } } } }")
    assert result["data"] == {"fewBooks": [{"editor": None}, {"editor": None}]}
    assert result["errors"] == [
        error("no such author", 23, "fewBooks", index, "editor", "teacher") for index in range(2)
    ]


async def test_error_of_a_loader_is_the_error_of_all_its_places() -> None:
    def broken() -> Shelf:
        return Shelf(authors=Loader({}, broken=ValueError("the library is shut")))

    result, _ = await answered("{ books { title editor { id } } }", broken)
    assert result["data"]["books"][2] == {"title": "Book 3", "editor": None}
    assert result["errors"] == [error("the library is shut", 17, "books", index, "editor") for index in (0, 1, 3)]


async def test_exception_returned_for_a_key_is_the_error_of_the_places_with_that_key() -> None:
    def one_broken() -> Shelf:
        return Shelf(authors=Loader({**AUTHORS, 1: MissingError("torn")}))

    result, _ = await answered("{ books { editor { id } } }", one_broken)
    assert [book["editor"] for book in result["data"]["books"]] == [None, None, None, {"id": "author_3"}]
    assert result["errors"] == [error("torn", 11, "books", index, "editor") for index in (0, 1)]


async def test_invalid_key_is_an_error_of_its_place() -> None:
    result, shelf = await answered("{ books { keeper { id } } }")
    assert [book["keeper"] and book["keeper"]["id"] for book in result["data"]["books"]] == [
        "author_1",
        None,
        "author_2",
        "author_3",
    ]
    assert result["errors"] == [error("unhashable type: 'list'", 11, "books", 1, "keeper")]
    assert shelf.authors.requested == [[1, 2, 3]]


async def test_loader_that_returns_too_few_values_is_an_error_of_all_its_places() -> None:
    class Short(Loader):
        async def load_level(self, keys: list[Any]) -> list[Any]:
            return []

    document = parse("{ books { editor { id } } }")
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    result = await Prepared(SCHEMA, document, operation).run({}, Shelf(authors=Short({})))
    assert result.data == {"books": [{"editor": None}] * 4}
    assert [one.path for one in result.errors or ()] == [["books", index, "editor"] for index in (0, 1, 3)]


async def test_edge_wraps_the_loaded_rows() -> None:
    result, shelf = await answered("{ authors { bookPage { of count nodes { title author { id } } } } }")
    assert result["data"]["authors"][1] == {
        "bookPage": {"of": 2, "count": 1, "nodes": [{"title": "Book 3", "author": {"id": "author_2"}}]}
    }
    assert shelf.authors.requested == []  # the author is joined to the book's row


async def test_wrap_that_raises_is_an_error_of_its_place() -> None:
    result, _ = await answered("{ authors { bookPage(longerThan: 350) { count } } }")
    assert result["data"] == {"authors": [{"bookPage": None}, {"bookPage": None}, {"bookPage": {"count": 1}}]}
    assert result["errors"] == [error("an empty page", 13, "authors", index, "bookPage") for index in (0, 1)]


async def test_rows_that_cannot_be_read_are_an_error_of_their_place_and_the_others_stay() -> None:
    result, _ = await answered("{ authors { bookPage { torn { title pages editor { place } author { id } } } } }")
    assert [one["bookPage"] and one["bookPage"]["torn"] for one in result["data"]["authors"]] == [
        [
            {
                "title": f"Book {number}",
                "pages": number * 100,
                "editor": {"place": f"1 at authors.0.bookPage.torn.{number - 1}.editor.place"},
                "author": {"id": "author_1"},
            }
            for number in (1, 2)
        ],
        None,
        [
            {
                "title": "Book 4",
                "pages": 400,
                "editor": {"place": "3 at authors.2.bookPage.torn.0.editor.place"},
                "author": {"id": "author_3"},
            }
        ],
    ]
    assert result["errors"] == [error("torn out", 24, "authors", 1, "bookPage", "torn")]


async def test_rows_without_selected_columns_keep_their_number() -> None:
    result, _ = await answered("{ books { __typename } fewBooks { kind: __typename } }")
    assert result["data"] == {"books": [{"__typename": "Book"}] * 4, "fewBooks": [{"kind": "Book"}] * 2}


async def test_joined_row_is_read_without_its_loader() -> None:
    result, shelf = await answered("{ books { author { __typename id penName } } }")
    assert result["data"]["books"][2] == {"author": {"__typename": "Author", "id": "author_2", "penName": "Grace"}}
    assert shelf.authors.requested == []


async def test_joined_row_is_not_used_if_one_of_its_fields_needs_the_object() -> None:
    result, shelf = await answered("{ books { author { born later } } }")
    assert result["data"] is None
    assert [one["message"] for one in result["errors"]] == ["nobody knows"]
    assert shelf.authors.requested == [[1, 2, 3]]


async def test_nullable_edge_is_loaded_even_where_its_row_is_joined() -> None:
    result, _ = await answered("{ books { editor { id } } }")
    assert [book["editor"] and book["editor"]["id"] for book in result["data"]["books"]] == [
        "author_1",
        "author_1",
        None,
        "author_3",
    ]


async def test_resolvers_below_edges_receive_their_place() -> None:
    result, _ = await answered("{ books { editor { place } author { mentor { place } } } }")
    assert result["data"]["books"] == [
        {"editor": {"place": "1 at books.0.editor.place"}, "author": {"mentor": None}},
        {"editor": {"place": "1 at books.1.editor.place"}, "author": {"mentor": None}},
        {"editor": None, "author": {"mentor": {"place": "1 at books.2.author.mentor.place"}}},
        {"editor": {"place": "3 at books.3.editor.place"}, "author": {"mentor": None}},
    ]


async def test_errors_below_a_shared_row_are_reported_at_each_of_its_places() -> None:
    result, _ = await answered("{ books { editor { id later(fails: true) } } }")
    assert result["data"] == {"books": [{"editor": None}] * 4}
    assert result["errors"] == [error("too late", 23, "books", index, "editor", "later") for index in (0, 1, 3)]


async def test_row_by_the_key_of_an_argument_is_read_and_answered() -> None:
    result, shelf = await answered("{ kind: __typename book(number: 2) { id __typename author { name } } }")
    assert result == {
        "data": {"kind": "Query", "book": {"id": "book_2", "__typename": "Book", "author": {"name": "Ada"}}}
    }
    assert (shelf.numbered.requested, shelf.authors.requested) == ([[2]], [])


async def test_rows_by_the_keys_of_arguments_are_one_call_and_are_read_below() -> None:
    result, shelf = await answered("{ a: book(number: 1) { title } b: book(number: 3) { title } }")
    assert result == {"data": {"a": {"title": "Book 1"}, "b": {"title": "Book 3"}}}
    assert shelf.numbered.requested == [[1, 3]]
    result, shelf = await answered("{ book(number: 3) { shout author { books { title } } } }")
    assert result == {"data": {"book": {"shout": "BOOK 3", "author": {"books": [{"title": "Book 3"}]}}}}


@pytest.mark.parametrize("number", [0, 9])
async def test_missing_row_is_null_even_if_no_column_of_it_is_read(number: int) -> None:
    text = "query ($n: Int!) { book(number: $n) { __typename } }"
    result, _ = await answered(text, variables={"n": number})
    assert result == {"data": {"book": None}}


async def test_exception_returned_for_a_row_is_the_error_of_its_field() -> None:
    def torn() -> Shelf:
        return Shelf(numbered=Loader({1: MissingError("torn out")}))

    result, _ = await answered("{ book(number: 1) { __typename } }", torn)
    assert result == {"data": {"book": None}, "errors": [error("torn out", 3, "book")]}
    result, _ = await answered("{ book(number: -1) { __typename } }")
    assert result == {"data": {"book": None}, "errors": [error("no book has such a number", 3, "book")]}


async def test_error_in_a_row_by_an_argument_has_its_path() -> None:
    result, _ = await answered("{ book(number: 1) { title lost } }")
    paths = [one["path"] for one in result["errors"]]
    assert (result["data"], paths) == ({"book": {"title": "Book 1", "lost": None}}, [["book", "lost"]])
    result, _ = await answered("{ book(number: 4) { title author { name } } }")
    paths = [one["path"] for one in result["errors"]]
    assert (result["data"], paths) == ({"book": None}, [["book", "author", "name"]])


async def test_row_by_an_argument_is_wrapped_if_its_edge_has_a_wrap_function() -> None:
    result, _ = await answered("{ marked(number: 1) { title } }")
    assert result == {"data": {"marked": {"title": "Book 1, marked 1"}}}
