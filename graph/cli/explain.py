"""`folio explain`: the plan of an operation, with its statements, and what each of them does."""

import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
import uvloop
from graphql import GraphQLError, OperationDefinitionNode, parse

from db.access import ANONYMOUS, Viewer
from db.connections.database import Database
from db.repositories.user_roster import listed_users, user_of_login
from graph.cli.support.explained_text import explained_text
from graph.cli.support.files import STANDARD_STREAM, read_text
from graph.cli.support.terminal import CommandError, interruptible, out, run_with_database
from graph.cli.support.typical_values import with_typical_values
from graph.operations.cache import Operation, Operations, RequestRefused
from graph.operations.explanation import Explanation, VariablesRefused, explain
from graph.schema.root import graphql_schema

EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS) "
FILE_PREFIX = "@"

Chosen = Sequence[tuple[Operation, Mapping[str, Any]]]
"""Operations, each with its variables."""


class Caller(Enum):
    """Who runs the operation."""

    ANONYMOUS = "anonymous"
    MEMBER = "member"
    ADMIN = "admin"


# Without a database, statements need only the access level. The id is not that of a typical value, because one
# statement might read both.
_VIEWERS: Mapping[Caller, Viewer] = {
    Caller.ANONYMOUS: ANONYMOUS,
    Caller.MEMBER: Viewer(2),
    Caller.ADMIN: Viewer(2, is_admin=True),
}


def explain_(
    document: Annotated[
        Path, typer.Argument(help="A file of GraphQL operations; - is standard input.", metavar="FILE")
    ],
    operation: Annotated[str | None, typer.Option(help="Only the operation of this name.", metavar="NAME")] = None,
    variables: Annotated[
        str | None,
        typer.Option(
            help="The variables as a JSON object, or @ and the name of a file. Others have their default, or a "
            "typical value where the operation requires one.",
            metavar="JSON|@FILE",
        ),
    ] = None,
    caller: Annotated[
        Caller, typer.Option("--as", help="The kind of caller, which decides which rows are visible.")
    ] = (Caller.ANONYMOUS),
    user: Annotated[str | None, typer.Option(help="With --analyze: run it as this user.", metavar="NAME")] = None,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Run queries on the configured database, and add PostgreSQL's EXPLAIN.")
    ] = False,
    source: Annotated[bool, typer.Option("--source", help="Add the generated functions.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: a list, one object for each operation.")] = False,
) -> None:
    """Print the plan of each operation in a file: a tree of its fields with their statements.

    It needs no database: the operation is run on made-up rows. Only queries are run.
    """
    if user is not None and not analyze:
        raise typer.BadParameter("it needs --analyze; without a database use --as", param_hint="--user")
    name = "standard input" if document == STANDARD_STREAM else str(document)
    text = _text(document)
    operations = _operations(name, text, operation)
    if analyze and any(not one.is_query for one in operations):
        raise typer.BadParameter(
            "only queries are run; leave --analyze out to see the plan of a mutation or subscription",
            param_hint="--analyze",
        )
    chosen = [(one, _variables(name, one, variables)) for one in operations]
    try:
        explained = _analyzed(chosen, caller, user) if analyze else uvloop.run(_planned(chosen, _VIEWERS[caller]))
    except VariablesRefused as refused:
        raise CommandError(f"{name}: {refused}") from None
    if as_json:
        out.print(orjson.dumps(explained, option=orjson.OPT_INDENT_2, default=str).decode(), markup=False)
    else:
        out.print("\n\n".join(explained_text(one, source=source) for one in explained), markup=False)
    if any(one.errors for one in explained):
        raise typer.Exit(1)


# ---------------------------------------------------------------- input


def _text(document: Path) -> str:
    if document != STANDARD_STREAM:
        return read_text(document)
    with interruptible():
        try:
            return sys.stdin.buffer.read().decode()
        except UnicodeDecodeError:
            raise CommandError("standard input is not UTF-8 text") from None


def _operations(name: str, text: str, only: str | None) -> list[Operation]:
    operations = Operations(graphql_schema, introspection=True, suggestions=True)
    try:
        definitions = [one for one in parse(text).definitions if isinstance(one, OperationDefinitionNode)]
        names = [one.name.value if one.name else None for one in definitions] or [None]
        if only is not None and only not in names:
            known = ", ".join(one for one in names if one) or "none with a name"
            raise CommandError(f"{name} has no operation {only}; it has {known}")
        return [operations.find(text, one) for one in ([only] if only is not None else names)]
    except GraphQLError as error:
        raise CommandError(f"{name}: {error}") from None
    except RequestRefused as refused:
        raise CommandError(f"{name}: {refused.errors[0]}") from None


def _variables(name: str, operation: Operation, given: str | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if given is not None:
        where = given[1:] if given.startswith(FILE_PREFIX) else "--variables"
        written = read_text(Path(where)) if given.startswith(FILE_PREFIX) else given
        try:
            values = orjson.loads(written)
        except orjson.JSONDecodeError as error:
            raise CommandError(f"{where} is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise CommandError(f'{where} is not a JSON object; write the variables as {{"name": value}}')
    return with_typical_values(graphql_schema, operation.execution.document, operation.definition, values)


# ---------------------------------------------------------------- the run


async def _planned(chosen: Chosen, viewer: Viewer) -> list[Explanation]:
    """Explain operations without a database."""
    return [(await explain(graphql_schema, one, variables, viewer))[0] for one, variables in chosen]


def _analyzed(chosen: Chosen, caller: Caller, user: str | None) -> list[Explanation]:
    """Explain queries on the configured database."""

    async def work(database: Database) -> list[Explanation]:
        viewer = await _viewer(database, caller, user)
        return [await _analyze(database, one, variables, viewer) for one, variables in chosen]

    return run_with_database(work)


async def _analyze(
    database: Database, operation: Operation, variables: Mapping[str, Any], viewer: Viewer
) -> Explanation:
    """Run a query in a read-only transaction, and then each of its statements under EXPLAIN."""
    async with database.read(operation.execution.tables) as snapshot:
        await explain(graphql_schema, operation, variables, viewer, snapshot)  # prepares the statements
        explained, sent, _ = await explain(graphql_schema, operation, variables, viewer, snapshot)
        if snapshot.failure is None:  # otherwise PostgreSQL runs nothing more in this transaction
            for read, one in zip(explained.reads, sent, strict=True):
                lines = await snapshot.driver.fetch(EXPLAIN + read.sql, *one.statement.arguments(one.values))
                read.analyzed = [line[0] for line in lines]
    return explained


async def _viewer(database: Database, caller: Caller, user: str | None) -> Viewer:
    if user is not None:
        found = await user_of_login(database, user)
        if found is None:
            raise CommandError(f"there is no user {user}")
        return Viewer(found["id"], is_admin=found["role"] == "admin")
    if caller is Caller.ANONYMOUS:
        return ANONYMOUS
    async for page in listed_users(database, only_admins=caller is Caller.ADMIN):
        for one in page:
            if one["role"] == caller.value and one["is_active"]:
                return Viewer(one["id"], is_admin=caller is Caller.ADMIN)
    raise CommandError(f"the database has no {caller.value}; make one with `folio user create`, or name one by --user")
