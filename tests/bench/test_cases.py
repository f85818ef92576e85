import datetime
import random
from typing import Any

import orjson

from bench.cases import CASES, bodies, plain
from bench.stock import OwnAccount, Position, Stock

NOON = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
STOCK = Stock(
    users=[3],
    published=[7],
    positions={"posts": [Position("posts", 7, NOON)], "users": [Position("users", 3, NOON)]},
    periods=[(NOON, NOON + datetime.timedelta(days=1))],
    thresholds=[100],
    owned=[(7, "token of ada")],
    accounts=[OwnAccount(1, "EUR", "0.01", "token of ada"), OwnAccount(2, "EUR", "0.01", "token of ben")],
    pair=[OwnAccount(1, "EUR", "0.01", "token of ada"), OwnAccount(2, "EUR", "0.01", "token of ben")],
)


def _first(name: str, dialect: str) -> tuple[str, Any]:
    case = CASES[name]
    token, body = bodies(case, dialect, case.draw(STOCK, random.Random(1)))[0]  # noqa: S311 - repeatable draws
    return token, orjson.loads(body)["variables"]


def test_ids_have_the_format_of_each_dialect() -> None:
    assert _first("post_author_each", "folio") == ("-", {"id": "post_7"})
    assert _first("post_author_each", "lists") == ("-", {"id": "7"})
    assert _first("post_author_each", "postgraphile") == ("-", {"id": "7"})
    assert _first("post_author_each", "limit") == ("-", {"id": 7})


def test_a_transfer_is_requested_by_the_owner_of_its_source() -> None:
    token, variables = _first("transfer_2", "folio")
    source, target = {"token of ada": (1, 2), "token of ben": (2, 1)}[token]
    assert variables == {
        "input": {
            "fromAccountId": f"account_{source}",
            "toAccountId": f"account_{target}",
            "amount": "0.01",
            "idempotencyKey": "@KEY@",
        }
    }


def test_answers_that_differ_only_in_wording_are_equal() -> None:
    folio = {"posts": {"nodes": [{"id": "post_7", "views": 3, "author": {"id": "user_2"}}]}}
    postgraphile = {"posts": {"nodes": [{"id": "7", "views": "3", "author": {"id": "2"}}]}}
    limit = {"posts": [{"id": 7, "views": 3, "author": {"id": 2}}]}
    assert plain(folio) == plain(postgraphile) == limit


def test_answers_with_other_rows_or_another_order_are_not_equal() -> None:
    one = {"posts": [{"id": "7", "title": "a"}, {"id": "8", "title": "b"}]}
    assert plain(one) != plain({"posts": one["posts"][::-1]})
    assert plain(one) != plain({"posts": one["posts"][:1]})
    assert plain(one) != plain({"posts": [{"id": "7", "title": "a"}, {"id": "8", "title": "c"}]})
    assert plain({"data": None, "errors": [{"message": "no"}]}) == {"data": None, "errors": [{"message": "no"}]}


def test_two_new_ledger_rows_are_equal_and_a_missing_one_is_not() -> None:
    def answer(transaction: object) -> Any:
        return plain({"transfer": {"replayed": False, "transaction": transaction}})

    assert answer({"id": "transaction_5"}) == answer({"id": "6"})
    assert answer({"id": "transaction_5"}) != answer(None)
