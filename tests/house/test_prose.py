"""All prose is plain technical English: no phrase of PHRASES occurs in it.

Prose is comments, docstrings, messages and other strings, Markdown, the descriptions in the public schema, and the help
of make.

Each phrase is a habit that makes readers translate a sentence back: a relative clause without a noun, a verb of speech
for a program, a private word for a thing that has a name. The failure names what to write instead.
"""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from graphql import Lexer, Source, TokenKind

ROOT = Path(__file__).parents[2]
ROOMS = ("bench", "db", "graph", "migrations", "tests")
SCHEMA = "schema.graphql"
CONFIGURATION = ("Makefile", "pyproject.toml")
# Not ours: the texts of other projects.
FOREIGN = ("graph/http/graphiql/static/vendored/",)

# Strings of tests are examples and quotations. The texts of the demo data are written by its users.
TESTS = ("tests/",)
INVENTED = ("db/seed/words.py", "db/seed/texts.py")

# A regular expression, in which a space matches any white space, and what to write instead.
PHRASES: Mapping[str, str] = {
    # who does it
    r"who asks?|those who ask": "the viewer, the caller, the client",
    r"whoever|whomever": "a noun with `that` or `who`: the client that …",
    r"nobody|nobody's": "a noun with `no`: no caller, no client, no other process",
    r"somebody|someone": "a noun: a user, another caller, the operator",
    r"everybody|everyone": "a noun: every caller, all clients, all users",
    r"anybody|anyone": "a noun: any user, any caller",
    r"(?:of|to|for|by) whom|of whose": "two sentences, or a relative clause with its noun",
    r"who (?:wants?|leaves?|waits?|comes?|goes|calls?|is told)": "the caller that …, the client that …",
    # programs do not speak
    r"tells?|telling|told": "returns, reports, shows, notifies; receives, is notified, is reported; distinguishes",
    r"says? (?:so|whether|it|nothing)|said so": "reports it; returns whether; has no …",
    r"say whether": "return whether",
    r"asks?|asked|asking": "requests, queries, selects, sends a statement, calls",
    r"(?:look|looks|looked|looking) at": "checks, reads, examines",
    r"knows? of|knew of": "has, contains, has a record of",
    # where it goes
    r"the other way(?: round| about)?": "vice versa, or the name of the alternative",
    r"(?:the|a) (?:short|long|fast|slow|ordinary|one|usual) way": "the name of the code path",
    r"doors?": "the entry point, the endpoint, the method",
    r"goes on|go on|went on|gone on|going on": "continues, resumes",
    r"come back|comes back|came back": "returns, recovers, is available again",
    r"(?:gives?|giving|given|gave) (?:it |them )?(?:back|out|away)": "returns, issues, releases",
    r"bring along|brings along|brought along|bringing along|brings? \w+ along": "includes",
    r"goes away|go away|gone away|went away": "disconnects, is deleted, ends",
    # when, and for how long
    r"as long as there is": "while, until",
    r"at first sight": "at its first execution, before it is compiled",
    r"under way": "running, in progress",
    r"amid": "during, in the middle of",
    r"anew": "again",
    r"as ever": "as before, normally",
    r"for good": "permanently",
    r"(?:is|are|was|were) over": "has ended, has expired",
    # how
    r"likewise": "the reason itself, or `as above`",
    r"by itself|by themselves|by himself": "alone, separately, automatically, without intervention",
    r"of (?:its|their|one's|his) own": "separate, private, new; leave it out where it says nothing",
    r"(?:is|are|was|were) to (?:be|have)": "must be, is",
    r"(?:is|are) as good as": "is treated as, is equivalent to",
    r"(?:that|which|what|who) (?:is|are) none": "is not one, or the adjective: invalid, missing",
    r"in words": "with a message, with a named error",
    r"well again": "recovered",
    r"mends?|mended|mending": "repairs, fixes, recovers",
    r"holds? (?:up|back)|held (?:up|back)|holds? (?:\w+) up": "delays, blocks",
    r"stands? (?:there|still)|stood still": "exists, occurs; hangs, is blocked",
    r"taken? for granted|takes? (?:it|them) for": "assumes, mistakes for",
    r"what (?:is|are|was|were) (?:no|over|there|wrong)": "a noun: an invalid …, the expired rows, the error",
    r"what (?:has|have|had) (?:come|been|gone|changed)": "a noun with a relative clause: the rows that …",
    r"what (?:comes|came|goes|went|lies|stands)": "a noun with a relative clause: the bytes that …",
    r"that there (?:is|are|was|were)[.,:;]": "existing, the whole …",
    r"beside": "next to, in addition to, besides",
    r"gives? (?:a|an|the|every|each)": "returns, yields, passes",
    r"lets? (?:\w+ )?through": "selects, passes, accepts",
    r"demands?|demanded": "requires, asserts",
    r"(?:is|are|was) said (?:of|about)": "the message for …",
    r"thereof|therein|thereby|whereof|whereupon|hence": "a new sentence",
    r"for ever": "permanently, without a time limit, without end",
    r"(?:null|none|true|false|empty|exits \d) where": "null if",
    r"(?<!there.)is no (?!longer|such|need|more)\w+": "is not a …",
    r"say (?:in|by|how|which|who)": "set, declare, name; a noun for what is missing",
    r"as it is now|as they are now": "the current …, after the change",
    r"(?:goes|good) (?:with|for)": "use it with; valid for",
    r"what (?:became|becomes|has become) of": "the outcome of",
    r"(?:is|are) worth": "is valid, is treated as",
    r"whatever (?:the|its|their) case": "without regard to case",
    r"on (?:its|their|one's) own(?=[.,;:)])": "separately, alone",
    r"to blame": "the cause",
    r"for people": "for users",
    r"be it": "which may be",
    # the words of the glossary
    r"lanes?": "a leased connection",
    r"tally|tallies|tallied": "query statistics, counts",
    r"arranged rows": "mapped rows",
    r"far ends?": "opposite bounds",
    r"look-ups?": "lookup",
    r"de?tour(?:s|ed)?": "headers that need ASGI, the ASGI endpoint",
    r"overhear|overheard": "recorded",
}


# At one place the phrase counts that is first in the list.
PATTERN = re.compile(
    r"\b(?:"
    + "|".join(f"(?P<p{number}>{phrase})" for number, phrase in enumerate(PHRASES)).replace(" ", r"\s+")
    + r")\b",
    re.IGNORECASE,
)
SQL = re.compile(r"\b(?:SELECT|WHERE|FROM)\b")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def better_than(match: re.Match[str]) -> str:
    """Return what to write instead of a match of PATTERN."""
    return list(PHRASES.values())[int(str(match.lastgroup).removeprefix("p"))]


class Prose(NamedTuple):
    """A comment, a docstring, a string, a description or a Markdown file, with the line on which it begins."""

    line: int
    text: str


class Finding(NamedTuple):
    """A phrase at a place, and what to write instead."""

    file: str
    line: int
    phrase: str
    better: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.phrase!r}: write {self.better}"


def comments(text: str) -> Iterator[Prose]:
    """Yield the comments of a Python file; comments on consecutive lines without code are one."""
    tokens = [one for one in tokenize.generate_tokens(io.StringIO(text).readline) if one.type == tokenize.COMMENT]
    lines = [(one.start[0], one.string.lstrip("# "), not one.line[: one.start[1]].strip()) for one in tokens]
    block: list[str] = []
    for (line, comment, is_alone), (following, _, is_following_alone) in pairwise([*lines, (0, "", False)]):
        block.append(comment)
        if not (is_alone and is_following_alone and following == line + 1):
            yield Prose(line - len(block) + 1, "\n".join(block))
            block = []


def docstrings(text: str) -> Iterator[Prose]:
    """Yield the docstrings of a Python file, those of modules, classes and functions."""
    for node in ast.walk(ast.parse(text)):
        docstring = _docstring(node)
        if docstring is not None:
            yield Prose(docstring.lineno, str(docstring.value))


def _docstring(node: ast.AST) -> ast.Constant | None:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        match node.body:
            case [ast.Expr(value=ast.Constant(value=str()) as constant), *_]:
                return constant
    return None


def strings(text: str) -> Iterator[Prose]:
    """Yield the strings of a Python file that are not docstrings: messages, help texts, descriptions of attributes.

    Single words are not prose, nor are SQL and a string that the code splits into a list.
    """
    nodes = list(ast.walk(ast.parse(text)))
    split = {ast.unparse(node.value) for node in nodes if isinstance(node, ast.Attribute) and node.attr == "split"}
    others = {id(one) for one in map(_docstring, nodes)} | {
        id(node.value) for node in nodes if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in split
    }
    for node in nodes:
        if isinstance(node, ast.Constant) and id(node) not in others:
            words = node.value
            if isinstance(words, str) and " " in words and SQL.search(words) is None:
                yield Prose(node.lineno, words)


def hash_comments(text: str) -> Iterator[Prose]:
    """Yield the comments of a Makefile or a TOML file, each line separately."""
    for match in re.finditer(r"^# .*|\s##? .*", text, re.MULTILINE):
        yield Prose(text.count("\n", 0, match.start()) + 1, match[0].strip())


PROMISED = frozenset(
    {
        "Opaque; give the last one back as `after` to get all that was missed.",
        "The post as it is now; null where it is gone or no longer the viewer's to see.",
        "The comment as it is now; null where it is gone or no longer the viewer's to see.",
        "A post was published, by anyone or by one author.",
    }
)
"""Descriptions whose words clients were promised before the list existed."""


def schema_descriptions(text: str) -> Iterator[Prose]:
    """Yield the descriptions of a schema in GraphQL's definition language."""
    lexer = Lexer(Source(text))
    while (token := lexer.advance()).kind != TokenKind.EOF:
        if token.kind == TokenKind.BLOCK_STRING and token.value not in PROMISED:
            yield Prose(token.line, token.value or "")


def prose_of(file: str, text: str) -> Iterator[Prose]:
    """Yield the prose of a file, by the end of its name."""
    if file.endswith(".md"):
        yield Prose(1, text)
    elif file.endswith(".graphql"):
        yield from schema_descriptions(text)
    elif file in CONFIGURATION:
        yield from hash_comments(text)
    else:
        yield from comments(text)
        yield from docstrings(text)
        if not file.startswith((*TESTS, *INVENTED)):
            yield from strings(text)


def without_code(text: str) -> str:
    """Return a text with spaces instead of its code: the blocks and the words between backticks."""
    return CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def found_in(file: str, text: str) -> list[Finding]:
    """Return the phrases in the prose of a file, in the order of its lines."""
    return sorted(
        Finding(file, one.line + one.text.count("\n", 0, match.start()), match[0], better_than(match))
        for one in prose_of(file, text)
        for match in PATTERN.finditer(without_code(one.text))
    )


@cache
def findings() -> list[Finding]:
    """Return the phrases in the schema and in all Python and Markdown files that git tracks or would add."""
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, check=True).stdout.decode()  # noqa: S603 - constants
    files = [
        name
        for name in filter(None, listed.split("\0"))
        if name in {SCHEMA, *CONFIGURATION}
        or name.endswith(".md")
        or (name.endswith(".py") and name.split("/")[0] in ROOMS)
        if not name.startswith(FOREIGN) and name != Path(__file__).relative_to(ROOT).as_posix()
    ]
    return [
        finding
        for file in files
        if (ROOT / file).is_file()
        for finding in found_in(file, (ROOT / file).read_text(encoding="utf-8"))
    ]


def test_no_comment_docstring_or_page_has_a_phrase_of_the_list() -> None:
    found = [str(one) for one in findings()]
    assert found == [], "\n".join(["plain technical English, please:", *found])


# ---------------------------------------------------------------- the search itself


@pytest.mark.parametrize(
    ("text", "line", "phrase"),
    [
        ('"""Return\nwho asks."""\n', 2, "who asks"),
        ('class A:\n    """First.\n\n    It is\n    to be.\n    """\n', 4, "is\n    to be"),
        ("x = 1\n# One,\n# whoever it is\n", 3, "whoever"),
        ("# by\n# itself\n", 1, "by\nitself"),
        ("x = 1  # likewise\ny = 2  # right\n", 1, "likewise"),
    ],
)
def test_phrase_is_found_with_its_line(text: str, line: int, phrase: str) -> None:
    [finding] = found_in("db/example.py", text)
    assert (finding.line, finding.phrase) == (line, phrase)


@pytest.mark.parametrize(
    "code",
    [
        'raise Refusal("CODE", (), f"{name}: ask for less")',
        'log.warning("it is\\n"\n  "asked")',
        'ONE = 1\n"""The value that tells one."""',
        'f(message="told so")',
    ],
)
def test_messages_and_other_strings_are_prose_except_in_tests(code: str) -> None:
    assert len(found_in("db/example.py", code)) == 1
    assert found_in("tests/db/test_example.py", code) == []


def test_names_parts_of_words_sql_and_lists_of_words_are_not_prose() -> None:
    assert found_in("db/example.py", 'told = "tells"\n# A task, `told`, is retold indoors.\n') == []
    assert found_in("db/example.py", 'x = "SELECT 1 WHERE true WHERE asked"; y = "asks told"\nz = y.split()') == []
    assert found_in("README.md", "```\nwho asks\n```\nIt has `whoever` as a name.\n") == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("schema.graphql", 'type A {\n  """\n  Null where\n  there is none.\n  """\n  a: Int\n}\n'),
        ("Makefile", "a:\n\ttrue\nb: c  ## null where absent\n"),
        ("db/example.py", 'x = 1\ny = 2\noption = Option(help="Exits 1 where it fails.")\n'),
        ("db/example.py", 'x = 1\ny = 2\nfield = Field(\n    description="null where absent")\n'),
    ],
)
def test_descriptions_and_help_texts_are_prose(file: str, text: str) -> None:
    [finding] = found_in(file, text)
    assert (finding.line > 1, finding.better) == (True, "null if")


def test_message_names_file_line_phrase_and_what_to_write() -> None:
    [finding] = found_in("README.md", "One\n\nNobody does\n")
    assert str(finding) == "README.md:3: 'Nobody': write a noun with `no`: no caller, no client, no other process"
