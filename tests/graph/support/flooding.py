"""Floods of a worker's caches, one process each: `python -m tests.graph.support.flooding NAME [DATABASE_URL]`.

A flood sends KEYS different keys to one cache, through the outermost interface that accepts so many in some seconds.
The keys of any flood together would take more than GROWTH_MIB_MAX.
"""

import asyncio
import contextlib
import dataclasses
import gc
import hashlib
import itertools
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from graphql.execution.values import VariableValues
from pydantic import SecretStr
from sqlalchemy import Text, literal_column, select

import db.models  # noqa: F401 - every mapped class
from db.connections.database import Database
from db.connections.shares import Share, Shares
from db.connections.statements import Statement
from db.connections.waiting import Turns
from db.query.statement_cache import statements
from db.settings import Settings, async_url
from graph.execution import Prepared, Unsupported
from graph.operations.cache import Operations, RequestRefused
from graph.operations.documents import Documents
from graph.runtime.context import caller_address
from graph.runtime.tokens import TokenSigner
from graph.schema.root import graphql_schema
from graph.schema.sessions.sign_ins import place_of
from graph.telemetry.current import Observation
from graph.telemetry.metrics import Metrics
from graph.telemetry.traces import trace_of

KEYS = 100_000
GROWTH_MIB_MAX = 64
COUNTS = {"tokens": 120_000}
WARMING = 100
LONG_EACH = 100  # one of LONG_EACH keys is a long one
LONG = "x" * 40_000
SECRET_KEY = "a secret of the tests, long enough to sign with: 0123456789"

Flood = Callable[[Iterable[int], Settings], Awaitable[None]]
"""Offers a key for each number."""


def resident_bytes() -> int:
    """Return the resident memory of this process, without what only the cycle collector could free."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def padded(number: int) -> str:
    """Return a unique text."""
    return f"{number} {LONG if number % LONG_EACH == 0 else ''}"


# ---------------------------------------------------------------- documents

_PER_DOCUMENT = 10
_CONDITIONS = [f"c{number}" for number in range(6)]
_CONDITIONAL = (
    "query Q%d("
    + ", ".join(f"${one}: Boolean!" for one in _CONDITIONS)
    + ") { "
    + " ".join(f"{one}: __typename @include(if: ${one})" for one in _CONDITIONS)
    + " posts(first: 3) { nodes { id title views author { id username } } } }"
)

_operations = Operations(graphql_schema, introspection=True, suggestions=True)


async def _valid(numbers: Iterable[int], _: Settings) -> None:
    """Valid operations: ten in each document, because the validation of a document takes time."""
    for chunk in _chunks(numbers, _PER_DOCUMENT):
        text = (
            " ".join(f"query Q{number} {{ __typename }}" for number in chunk)
            + f" # {padded(chunk[0] // _PER_DOCUMENT)}"
        )
        for number in chunk:
            for _again in range(2):  # first on probation, then protected
                _operations.find(text, f"Q{number}").priced({})


async def _refused(numbers: Iterable[int], _: Settings) -> None:
    """Documents that cannot be parsed; every tenth is a long one."""
    for number in numbers:
        for _again in range(2):  # with a new string object, as from the body of another request
            text = f"{{ ? {padded(number * LONG_EACH // 10)}"
            with contextlib.suppress(RequestRefused):
                _operations.find(text, None)


async def _persisted(numbers: Iterable[int], settings: Settings) -> None:
    """Documents that are sent with their hash, and learned."""
    documents = Documents(settings)
    for number in numbers:
        text = f"{{ __typename }} # {padded(number)}"
        extensions = {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(text.encode()).hexdigest()}}
        documents.text(text, extensions)
        assert documents.text(None, extensions) == text
    _kept.append(documents)


async def _introspections(numbers: Iterable[int], _: Settings) -> None:
    """Responses to different introspections: one operation, as if it had other selections each time."""
    operation = _operations.find("{ __typename }", None)
    for number in numbers:
        other = dataclasses.replace(operation, introspection=f"{number:032x}")
        _operations.keep_introspected(other, padded(number).encode() * 3)
        assert _operations.introspected(other) is not None


async def _plans(numbers: Iterable[int], _: Settings) -> None:
    """Vectors of conditions: 64 for each operation."""
    values = itertools.product((True, False), repeat=len(_CONDITIONS))
    vectors = [VariableValues({}, dict(zip(_CONDITIONS, one, strict=True))) for one in values]
    for chunk in _chunks(numbers, len(vectors)):
        text = _CONDITIONAL % chunk[0]
        execution = _operations.find(text, None).execution
        definition = execution.definition
        prepared = Prepared(graphql_schema, execution.document, definition, grown=execution.grown)
        execution.prepared = prepared
        for vector in vectors:
            with contextlib.suppress(Unsupported):
                prepared.plan(vector)
        _operations.find(text, None)


# ---------------------------------------------------------------- statements


@statements
def _statement(text: str) -> Statement:
    return Statement(select(literal_column(f"'{text}'", Text)))


async def _statements(numbers: Iterable[int], _: Settings) -> None:
    """Texts of statements, and the arguments by which they are found."""
    for number in numbers:
        _statement(padded(number))


async def _prepared(numbers: Iterable[int], settings: Settings) -> None:
    """Statements that are prepared on a connection."""
    database = Database(settings)
    long = 6 * LONG
    for number in numbers:
        text = f"{number} {long if number % LONG_EACH == 0 else ''}"
        await database.fetch(Statement(select(literal_column(f"'{text}'", Text))), {})
    _kept.append(database)


# ---------------------------------------------------------------- callers


async def _tokens(numbers: Iterable[int], settings: Settings) -> None:
    """Access tokens with a valid signature."""
    tokens = TokenSigner(settings)
    for number in numbers:
        text = tokens.sign(number, number).text
        assert tokens.read(text) == (number, number)
    _kept.append(tokens)


async def _callers(numbers: Iterable[int], settings: Settings) -> None:
    """Users and addresses that hold a connection each, and turns to write their rows."""
    shares, turns = Shares(settings), Turns(1.0)
    for number in numbers:
        own = Share(shares, f"user:{padded(number)}")
        await own.enter()
        async with turns.turn([("user", number, number)]):
            own.leave()
    _kept.extend((shares, turns))


async def _places(numbers: Iterable[int], settings: Settings) -> None:
    """Addresses from which passwords are guessed."""
    for number in numbers:
        caller_address.set(padded(number))
        place_of(settings)


async def _names(numbers: Iterable[int], _: Settings) -> None:
    """Names of operations in the metrics."""
    metrics = Metrics()
    for number in numbers:
        seen = Observation("id", trace_of(()), None)
        seen.operation, seen.kind = f"Q{padded(number)}", "query"
        metrics.finished(seen)
    _kept.append(metrics)


FLOODS: dict[str, Flood] = {
    "valid": _valid,
    "refused": _refused,
    "persisted": _persisted,
    "introspections": _introspections,
    "plans": _plans,
    "statements": _statements,
    "prepared": _prepared,
    "tokens": _tokens,
    "callers": _callers,
    "places": _places,
    "names": _names,
}
_kept: list[object] = []  # keeps objects that nothing else refers to until the measurement


def _chunks(numbers: Iterable[int], size: int) -> Iterable[list[int]]:
    rest = iter(numbers)
    while chunk := list(itertools.islice(rest, size)):
        yield chunk


async def _grown_bytes(name: str, settings: Settings) -> int:
    flood = FLOODS[name]
    await flood(range(KEYS, KEYS + WARMING), settings)  # the part that all keys share exists before the measurement
    before = resident_bytes()
    await flood(range(COUNTS.get(name, KEYS)), settings)
    return resident_bytes() - before


def main(name: str, database_url: str | None = None) -> None:
    """Print by how many bytes the flood `name` has made this process grow."""
    url = None if database_url is None else SecretStr(async_url(database_url))
    settings = Settings(secret_key=SecretStr(SECRET_KEY), database_url=url)
    print(asyncio.run(_grown_bytes(name, settings)))  # noqa: T201 - the output for the parent process


if __name__ == "__main__":
    main(*sys.argv[1:])
