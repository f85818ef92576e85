"""The limit of a text occurs once, in its specification in `db/fields.py`: never again as a number or in a sentence.

The limit of a list occurs once, in its constant: descriptions are written with it.

The tests read the constants of the product's code, including f-strings. They do not read docstrings and comments, which
may contain a number as the reason for another. Only for limits of lists they read the docstrings of the schema's
classes, because these are descriptions.
"""

import ast
import re
from collections.abc import Iterator, Mapping

import pytest

from db import fields
from db.fields import TextField
from db.ledger.batches import BATCH_MAX
from graph.analysis.cost import PAGE_SIZE_DEFAULT
from graph.schema.connections import PAGE_SIZE_MAX
from graph.schema.mutation_kit import BULK_MAX
from graph.schema.root import NODES_MAX
from tests.house.test_architecture import python_files

SPECIFICATIONS: Mapping[str, TextField] = {
    name: value for name, value in vars(fields).items() if isinstance(value, TextField)
}
# Numbers that are limits of other things, each with the thing that it limits.
OTHER_LIMITS = {
    "graph/schema/searches.py: SEARCH_LENGTH_MAX": "a search is not stored",
    "db/query/text_search.py: WORD_LENGTH_MAX": "a word of a search, which is cut",
}

LISTS = {
    "PAGE_SIZE_DEFAULT": PAGE_SIZE_DEFAULT,
    "PAGE_SIZE_MAX": PAGE_SIZE_MAX,
    "BULK_MAX": BULK_MAX,
    "NODES_MAX": NODES_MAX,
    "BATCH_MAX": BATCH_MAX,
}


def docstrings(tree: ast.AST) -> set[int]:
    """Return the ids of the nodes that are docstrings, or strings that are statements."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def words_for(specification: TextField) -> str:
    """Return the pattern of a sentence with the limit of `specification`."""
    most = f"(?:{specification.length_max}|{specification.length_max:,})"
    return (
        rf"\b{specification.length_min} to {most}\b(?= (?:characters|letters))"
        rf"|(?:at most|longer than|up to) {most} (?:characters|letters)"
    )


def numbers_in(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the numbers that limit a length: constants with such a name, and numbers that `len` is compared with."""
    for node in ast.walk(tree):
        named: list[tuple[str, ast.AST]] = []
        if isinstance(node, ast.Assign):
            named = [(ast.unparse(target), node.value) for target in node.targets]
        elif isinstance(node, ast.keyword):
            named = [(f"{node.arg}=", node.value)]
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            named = [(f"len compared in {ast.unparse(node)}", side) for side in sides if "len(" in ast.unparse(node)]
        for name, value in named:
            is_limit = re.search("_LENGTH_(MAX|MIN)$|^(longest|max_length|length_max)=$|^len ", name)
            if is_limit and isinstance(value, ast.Constant) and isinstance(value.value, int):
                yield name, value.value


def limits_stated_again(name: str, text: str) -> Iterator[str]:
    """Yield the repeated limits in a file, each with the specification to use."""
    tree = ast.parse(text)
    silent = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            for field, specification in SPECIFICATIONS.items():
                if re.search(words_for(specification), node.value, re.IGNORECASE):
                    yield f'{name}:{node.lineno}: "{node.value}": write it with db.fields.{field}.limit or .description'
    for where, number in numbers_in(tree):
        for field, specification in SPECIFICATIONS.items():
            if number > 1 and number == specification.length_max and f"{name}: {where}" not in OTHER_LIMITS:
                yield f"{name}: {where} is {number}: use db.fields.{field}.length_max"


def limits_of_lists_in(name: str, text: str) -> Iterator[str]:
    """Yield the limits of lists in the descriptions of a file, each with the constants that may be meant."""
    tree = ast.parse(text)
    described = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and isinstance(node.body[0], ast.Expr)
    }
    silent = docstrings(tree) - described
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            for most in re.findall(
                r"\b(?:1 to|at most|else) ([\d,]*\d)(?! (?:character|letter))\b", node.value, re.IGNORECASE
            ):
                meant = [limit for limit, value in LISTS.items() if int(most.replace(",", "")) == value]
                if meant:
                    yield f"{name}:{node.lineno}: {most} is written: use {' or '.join(meant)}"


def product() -> dict[str, str]:
    return {
        name: text
        for name, text in python_files().items()
        if name.startswith(("db/", "graph/")) and name != "db/fields.py"
    }


def test_no_limit_of_a_text_is_stated_a_second_time() -> None:
    assert [one for name, text in product().items() for one in limits_stated_again(name, text)] == []


def test_no_limit_of_a_list_is_written_into_a_description() -> None:
    schema = {name: text for name, text in product().items() if name.startswith("graph/schema/")}
    assert [one for name, text in schema.items() for one in limits_of_lists_in(name, text)] == []


@pytest.mark.parametrize(
    "code",
    [
        'ids = argument(description="At most 100 ids of this API.")',
        'posts = field(description=f"1 to 1,000 {noun}.")',
        'first = argument(description="At most this many, else 20.")',
        "class CreatePostsInput:\n    'All posts or none. At most 100.'",
        'QUERY = "Lists are connections: at most 100 at once."',
    ],
)
def test_limit_of_a_list_that_is_written_is_found(code: str) -> None:
    assert len(list(limits_of_lists_in("graph/schema/new.py", code))) == 1


@pytest.mark.parametrize("code", ["x = 'at most 100 characters'", "x = '1 to 99 posts'", "def x():\n    'Else 20.'"])
def test_what_is_no_limit_of_a_list_is_left_alone(code: str) -> None:
    assert list(limits_of_lists_in("graph/schema/new.py", code)) == []


@pytest.mark.parametrize(
    "code",
    [
        'title = field(description="1 to 200 characters.")',
        'raise BadInput(f"a {name} has at most 100,000 characters")',
        'message = "content has at most 100000 characters"',
        "MEMO_LENGTH_MAX = 500",
        "if len(email) > 254: pass",
        'column("bio", longest=5000)',
        'help="3 to 32 letters"',
    ],
)
def test_a_limit_that_is_stated_again_is_found_with_the_specification_to_use(code: str) -> None:
    found = list(limits_stated_again("graph/new.py", code))
    assert found
    assert all("db.fields." in one for one in found)


@pytest.mark.parametrize("code", ['"""A text of 100,000 characters is long."""', "ROWS = 200", "x = 'at most 100 ids'"])
def test_what_is_no_limit_of_a_text_is_left_alone(code: str) -> None:
    assert list(limits_stated_again("graph/new.py", code)) == []


def test_every_other_limit_is_still_there() -> None:
    stated = {f"{name}: {where}" for name, text in product().items() for where, _ in numbers_in(ast.parse(text))}
    assert sorted(OTHER_LIMITS.keys() - stated) == []
