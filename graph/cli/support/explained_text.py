"""The text of an explanation: a tree along the response path, with the statements at the fields that request them."""

import re
from collections.abc import Iterator, Mapping
from textwrap import wrap

import orjson

from graph.operations.explanation import ExplainedField, ExplainedRead, Explanation

# SQLAlchemy writes these clauses on the line of the clause before them.
_CLAUSE = re.compile(r" +(?=(?:ORDER BY|GROUP BY|LIMIT|OFFSET|UNION ALL|JOIN|LEFT OUTER JOIN|RETURNING)\b)|\s*\n\s*")
LINE_LENGTH = 100
_VALUE_LENGTH_SHOWN = 100
_KEYS_SHOWN = 10


def explained_text(explained: Explanation, *, source: bool) -> str:
    """Return the text of an explanation, with the generated functions of each level if `source` is true."""
    return "\n".join(_lines(explained, source=source))


def formatted_sql(sql: str) -> Iterator[str]:
    """Yield the lines of a statement: one for each clause, indented by the parentheses around it."""
    depth = 0
    for line in _CLAUSE.split(sql.strip()):
        yield from wrap(
            line,
            LINE_LENGTH,
            initial_indent="  " * depth,
            subsequent_indent="  " * depth + "    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        depth += line.count("(") - line.count(")")


_NOT_RUN = {
    "mutation": "a mutation is not run; this is the plan of its payload, which is read after the write",
    "subscription": "a subscription is not run; this is the plan of one event, which is read when the event is sent",
}


def _lines(explained: Explanation, *, source: bool) -> Iterator[str]:
    count = len(explained.reads)
    statements = "1 statement" if count == 1 else f"{count} statements"
    sent = f": {statements}" if explained.is_run else ""
    yield f"{explained.kind} {explained.name or '(no name)'}, access level {explained.access_level}{sent}"
    if not explained.is_run:
        yield _NOT_RUN[explained.kind]
    if explained.reason:
        yield f"the ordinary engine runs it: {explained.reason}"
    elif explained.is_single_read:
        yield "the compiled engine runs it; one statement answers it, so that it needs no task"
    else:
        yield "the compiled engine runs it, level by level"
    if explained.in_snapshot:
        yield "it may read money: all statements see one state of the database"
    if explained.variables:
        yield f"variables: {_json(explained.variables)}"
    for error in explained.errors:
        yield f"error: {error}"
    reads = {read.number: read for read in explained.reads}
    for field in explained.fields:
        yield ""
        yield from _field(field, reads, source=source)
    if not explained.fields:
        for read in explained.reads:
            yield ""
            yield from _read(read)


def _field(field: ExplainedField, reads: Mapping[int, ExplainedRead], *, source: bool) -> Iterator[str]:
    yield f"{field.path.rpartition('.')[2]}: {field.type}"
    last = len(field.fields) - 1
    beside = "│  " if field.fields else "   "
    for line in _details(field, reads, source=source):
        yield f"{beside}{line}".rstrip()
    for index, below in enumerate(field.fields):
        head, rest = ("├─ ", "│  ") if index < last else ("└─ ", "   ")
        for number, line in enumerate(_field(below, reads, source=source)):
            yield f"{rest if number else head}{line}".rstrip()


def _details(field: ExplainedField, reads: Mapping[int, ExplainedRead], *, source: bool) -> Iterator[str]:
    if not field.reads:
        yield field.way
    for number in field.reads:
        yield from _read(reads[number])
    for line in field.renders:
        yield f"renders {line}"
    for text in field.source if source else ():
        for line in text.splitlines():
            yield f"    {line}"


def _read(read: ExplainedRead) -> Iterator[str]:
    by = ""
    if read.key is not None:
        by = f", for all rows of the level, by {read.key}"
    yield f"statement {read.number}: {read.loader or 'a read'}{by}"
    for line in formatted_sql(read.sql):
        yield f"    {line}"
    for number, (name, value) in enumerate(read.parameters, 1):
        yield f"    ${number} {name} = {_json(value)}"
    for path, way in read.folded:
        yield f"with {path}, {way}"
    for path in read.shared_with:
        yield f"also for {path}"
    if read.rows is not None:
        batch = f", a batch of {_counted(len(read.keys), 'key')}" if read.keys else ""
        yield f"{_counted(read.rows, 'row')}, {read.us} us{batch}"
    for line in read.analyzed:
        yield f"    {line}"


def _counted(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"


def _json(value: object) -> str:
    more = ""
    if isinstance(value, list) and len(value) > _KEYS_SHOWN:
        value, more = value[:_KEYS_SHOWN], f" and {len(value) - _KEYS_SHOWN} more"
    text = orjson.dumps(value, default=str).decode()
    return (text if len(text) <= _VALUE_LENGTH_SHOWN else f"{text[:_VALUE_LENGTH_SHOWN]}…") + more
