"""Made-up rows: what a statement could return, from the types of its columns alone, without a database.

`graph.operations.explanation` runs an operation on them, so that every read of its plan is requested. Every list
continues after its page and every row exists, so that the operation sends as many statements as it ever can.
"""

import datetime
import uuid
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, get_args, get_origin

from db.connections.statements import Statement
from db.query.pages import ROWS

KEY = "id"
NESTED = "nested_"
NUMBERS_ABOVE = 1000  # ids in operations are mostly smaller

# The text is a currency code, too: amounts are rendered by the currency of their account.
SAMPLES: Mapping[type, object] = {
    str: "EUR",
    bool: True,
    float: 1.0,
    Decimal: Decimal(1),
    datetime.datetime: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    uuid.UUID: uuid.UUID(int=1),
}


class MadeUpRow:
    """A row with the interface of asyncpg's records: values by name and by position."""

    __slots__ = ("_by_name", "_values")

    def __init__(self, names: Sequence[str], values: Sequence[object]) -> None:
        self._values = tuple(values)
        self._by_name = dict(zip(names, values, strict=True))

    def __getitem__(self, key: Any) -> Any:
        return self._by_name[key] if isinstance(key, str) else self._values[key]

    def __iter__(self) -> Iterator[object]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def get(self, name: str, default: object = None) -> Any:
        """Return the value of a column, or `default` where there is no such column."""
        return self._by_name.get(name, default)


def made_up_rows(statement: Statement, values: Mapping[str, Any], number: int) -> list[Any]:
    """Return rows that `statement` could return for `values`.

    A read by keys gets one row for each key, a page as many rows as it may have, and every other statement one row. The
    key is in the column `id`, or in the first integer if there is none. If the keys are texts, every text and every
    value of an unknown type is the key. Every integer but the keys is `number`. No two statements have the same, so
    that no loader finds rows that another statement has read.
    """
    results = list(statement.results)
    names = [name for name, _ in results]
    given = [value for name in statement.parameters if isinstance(value := values.get(name), list | tuple)]
    if not given:
        is_of_arrays = bool(results) and get_origin(results[0][1]) is list
        rows = 1 if is_of_arrays else values.get(ROWS, 1)
        return [MadeUpRow(names, [_value(name, type_, number, values) for name, type_ in results])] * rows
    numbers = [name for name, type_ in results if type_ in {int, object}]
    place = names.index(KEY if KEY in numbers else numbers[0])
    made = []
    for key in given[0]:
        row = [_value(name, type_, number, values) for name, type_ in results]
        if isinstance(key, str):
            row = [key if type_ in {str, object} else value for value, (_, type_) in zip(row, results, strict=True)]
        else:
            row[place] = key
        made.append(MadeUpRow(names, row))
    return made


def _value(name: str, type_: Any, number: int, values: Mapping[str, Any]) -> object:
    if get_origin(type_) is not list:
        return SAMPLES.get(type_, number)
    owner = "_".join(name.split("_", 2)[:2]) + "_" if name.startswith(NESTED) else ""
    (item,) = get_args(type_)
    return [SAMPLES.get(item, number)] * values.get(f"{owner}{ROWS}", 1)
