"""The rules of the project: imports point one way, files and functions are short, and names describe things.

Where a rule has exceptions, one list has them, each with its reason; an entry that has become unnecessary fails, too.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from db.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
ROOMS = ("db", "graph", "migrations", "tests")
NOUNS = ("users", "posts", "money", "sessions")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 50

LONG_FILES: Mapping[str, str] = {}
USERS_OF_SQLALCHEMY: Mapping[str, str] = {
    "graph/cli/doctor.py": "`folio doctor` queries the catalogue of the database",
}


@cache
def python_files() -> Mapping[str, str]:
    """Return the text of every Python file of ROOMS, by its path."""
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def kept_files() -> Iterator[tuple[str, str]]:
    """Yield the path and the text of every file that is, or would be, under version control."""
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, check=True).stdout.decode()  # noqa: S603 - constants
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file():
            yield name, path.read_text(encoding="utf-8", errors="replace")


# ---------------------------------------------------------------- variables of the environment


def test_every_variable_with_the_prefix_of_the_settings_is_a_setting() -> None:
    """Folio refuses others: a user who exports one that an example reads cannot start the server in the same shell."""
    settings = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    # Tests name wrong ones on purpose, and the benchmark has a constant with such a name.
    named = {
        (name, variable)
        for name, text in kept_files()
        if not name.startswith(("tests/", "bench/"))
        for variable in re.findall(rf"\b{PREFIX}[A-Z0-9_]+\b", text)
    }
    assert {variable for _, variable in named} & settings
    assert {one for one in named if one[1] not in settings} == set()


# ---------------------------------------------------------------- imports between modules


def test_imports_point_one_way() -> None:
    # In a separate process: import-linter configures logging, and disables all existing loggers.
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    linted = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)  # noqa: S603
    assert linted.returncode == 0, (
        f"{linted.stdout.decode()}\nThe rules are the contracts of [tool.importlinter] in pyproject.toml; a new folder "
        "is added to the layer of its neighbours there."
    )


def dependencies(name: str, text: str) -> set[str]:
    """Return the modules of this project that the module `name` imports anywhere, except for annotations only."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    named = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{one.name}" for one in node.names}
            named |= submodules if submodules <= modules().keys() else submodules | {node.module}
    return {one for one in named if one in modules()} - {name}


@cache
def modules() -> Mapping[str, str]:
    """Return the text of every module of the product, by its dotted name."""
    return {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): text
        for name, text in python_files().items()
        if not name.startswith("tests/")
    }


def test_no_modules_import_each_other_in_a_circle() -> None:
    # A package is imported with each of its modules; what its `__init__` imports from the package is not a circle.
    sorter = TopologicalSorter({name: dependencies(name, text) for name, text in modules().items()})
    sorter.prepare()


def imported_by(text: str) -> set[str]:
    """Return the top-level packages that a module imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found


def test_sql_stays_in_db() -> None:
    users = {
        name for name, text in python_files().items() if name.startswith("graph/") and "sqlalchemy" in imported_by(text)
    }
    assert users == set(USERS_OF_SQLALCHEMY)


def test_graphql_and_http_stay_out_of_db() -> None:
    foreign = {"aiodataloader", "fastapi", "graphql", "httpx", "starlette", "strawberry", "typer", "uvicorn"}
    found = {
        name: imported_by(text) & foreign
        for name, text in python_files().items()
        if name.startswith(("db/", "migrations/")) and imported_by(text) & foreign
    }
    assert found == {}


# ---------------------------------------------------------------- files and functions


def test_a_file_fits_in_a_head() -> None:
    long = {name for name, text in python_files().items() if len(text.splitlines()) > FILE_LINES_MAX}
    assert long == set(LONG_FILES), f"split files with more than {FILE_LINES_MAX} lines by topic"


def test_a_function_fits_on_a_screen() -> None:
    long = [
        f"{name}: {node.name}"
        for name, text in python_files().items()
        if not name.startswith("migrations/versions/")  # one table after the other, as Alembic writes them
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert long == [], f"split functions with more than {FUNCTION_LINES_MAX} lines"


def test_every_module_has_a_docstring() -> None:
    silent = [
        name
        for name, text in python_files().items()
        if not name.startswith("tests/") and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


def test_no_type_error_is_silenced() -> None:
    needle = re.compile("type" + r":\s*ignore|pyright" + r":|mypy" + ":")
    assert [name for name, text in python_files().items() if needle.search(text)] == []


# ---------------------------------------------------------------- names


def test_no_module_is_named_for_holding_anything() -> None:
    vague = {"common", "core", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
    names = [*python_files(), *(str(Path(name).parent) for name in python_files())]
    assert [name for name in names if vague & set(Path(name).with_suffix("").parts)] == []


@pytest.mark.parametrize("noun", NOUNS)
def test_a_noun_has_the_same_name_on_every_side(noun: str) -> None:
    assert {f"db/models/{noun}.py", f"graph/schema/{noun}/mutations.py"} <= python_files().keys()


def test_every_test_has_a_fact_as_its_name() -> None:
    tests = [
        f"{name}: {node.name}"
        for name, text in python_files().items()
        if name.startswith("tests/")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert [name for name in tests if name.rpartition(": ")[2].count("_") < 3] == []


# ---------------------------------------------------------------- what the repository must not contain


def test_no_file_names_a_path_of_a_machine_or_a_package_registry() -> None:
    # Written so that this file does not find itself.
    words = [
        "/wor" + "k/",
        "/t" + "mp/w",
        "/hom" + "e/",
        "/roo" + "t/",
        r"\bshar" + "ed/",
        "py" + r"pi\.org",
        "pythonhos" + "ted",
    ]
    needle = re.compile("|".join([*words, "npm" + r"js\.", "dock" + r"er\.io", "gh" + r"cr\.io"]))
    found = {name: needle.findall(text) for name, text in kept_files() if needle.search(text)}
    assert found == {}


def test_no_module_changes_the_import_path() -> None:
    patched = [name for name, text in python_files().items() if "sys.pa" + "th" in text]
    assert patched == []


@pytest.mark.parametrize("half", ["db", "graph"])
def test_no_two_classes_of_one_half_have_the_same_name(half: str) -> None:
    names = Counter(
        node.name
        for name, text in python_files().items()
        if name.startswith(f"{half}/")
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in names.items() if times > 1] == []


def test_every_file_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:bench|db|docs|graph|migrations|tests)/[\w/.-]*)`", text))
    assert len(named) > 50
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_architecture_has_every_room() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = {
        path.relative_to(ROOT).as_posix() + "/"
        for half in ("db", "graph")
        for path in (ROOT / half).iterdir()
        if (path / "__init__.py").exists()
    }
    assert [room for room in sorted(rooms) if f"`{room}`" not in text] == []


SENTENCES_MIN = 2


def test_every_folder_documents_its_content_and_what_it_must_not_depend_on() -> None:
    folders = {path.parent for path in map(Path, python_files()) if path.parts[0] in {"db", "graph"}}

    def sentences(folder: Path) -> int:
        text = ast.get_docstring(ast.parse(python_files().get(f"{folder.as_posix()}/__init__.py", ""))) or ""
        return len(re.findall(r"\.(?=\s|$)", text))

    silent = [folder.as_posix() for folder in sorted(folders) if sentences(folder) < SENTENCES_MIN]
    assert silent == [], "say in its __init__.py what lives there, what it must not know, and what it offers"
