"""Generates the function that completes a level: one list comprehension, generated when the level first runs.

For `posts { id title author { username } }`, with the author joined into the post's row, the function is

    def complete(rows):
        return [{
            "id": (f"post_{v}" if (v := r["id"]) is not None else g0()),
            "title": (v if type(v := r["title"]) is str else w1(v)),
            "author": {"username": (v if type(v := r["author.username"]) is str else w2(v))},
        } for r in rows]

where `w1` is the writer of `String!`. Where the rows are a table, the loop runs over its columns in parallel:

    def complete(rows):
        return [{
            "id": (f"post_{c0}" if c0 is not None else g0()),
            "title": (c1 if type(c1) is str else w1(c1)),
            "author": {"username": (c2 if type(c2) is str else w2(c2))},
        } for c0, c1, c2 in zip(rows.columns["id"], rows.columns["title"], rows.columns["author.username"])]

The generated code handles neither paths nor errors. At the first invalid null, or the first value that its type
rejects, it raises `NeedsErrorPath`, and `graph.execution.output.completion` completes the response again. The source
text cannot contain client input as code: names in it are generated and numbered; response keys and column names are
quoted. `Level.source` keeps the text.
"""

from collections.abc import Callable
from typing import Any

from graphql import get_named_type, is_leaf_type, is_non_null_type

from graph.execution.declarations import DECLARATION, Column, Computed, Prefixed
from graph.execution.plan.levels import FieldKind, FieldPlan, Level
from graph.execution.plan.scalar_output import BUILT_IN, InlineOutput, NeedsErrorPath, writer


def completer(level: Level) -> Callable[..., list[Any]]:
    """Return the function that completes a level. Its arguments are the rows, then one list for each kept field."""
    if level.complete is None:
        text = _Text(by_column=level.rows.by_column)
        body = text.object(level, {plan.slot: f"x{plan.slot}" for plan in level.kept})
        lists = [f"k{plan.slot}" for plan in level.kept]
        loop = text.loop([f"x{plan.slot}" for plan in level.kept], lists)
        level.source = f"def complete(rows, {', '.join(lists)}):\n    return [{body} {loop}]\n"
        names: dict[str, Any] = text.names
        exec(compile(level.source, f"<level {level.type_.name}>", "exec"), names)  # noqa: S102 - no client input, see above
        level.complete = names.pop("complete")  # without the pop, the function and its globals form a cycle
    return level.complete


class _Text:
    def __init__(self, *, by_column: bool) -> None:
        self.names: dict[str, Any] = {}
        self._by_column = by_column
        self._columns: dict[str, str] = {}
        self._uses_rows = not by_column

    def object(self, level: Level, kept: dict[int, str]) -> str:
        """Return the expression for one object's response data."""
        members = [f"{plan.key!r}: {self._field(level, plan, kept)}" for plan in level.fields]
        return "{" + ", ".join(members) + "}"

    def loop(self, names: list[str], lists: list[str]) -> str:
        """Return the loop that binds the names of the expression: the row, the columns, and `names` from `lists`."""
        bound, sources = list(self._columns.values()), [f"rows.columns[{name!r}]" for name in self._columns]
        if self._uses_rows or not (bound or names):
            bound.insert(0, "r")
            sources.insert(0, "rows")
        bound += names
        sources += lists
        if len(bound) == 1:
            return f"for {bound[0]} in {sources[0]}"
        return f"for {', '.join(bound)} in zip({', '.join(sources)})"

    def _column(self, name: str) -> tuple[str, str]:
        """Return the expression that reads a column the first time, and the one for later reads."""
        if not self._by_column:
            return f"(v := r[{name!r}])", "v"
        bound = self._columns.setdefault(name, f"c{len(self._columns)}")
        return bound, bound

    def _field(self, level: Level, plan: FieldPlan, kept: dict[int, str]) -> str:
        if plan.kind is FieldKind.TYPENAME:
            return repr(level.type_.name)
        if plan.slot >= 0:
            name = kept[plan.slot]
            return name if plan.place is not None else self._written(plan, name, name)
        if plan.kind is FieldKind.JOINED:
            assert plan.place is not None
            assert plan.place.only is not None
            return self.object(plan.place.only, {})
        return self._inline(level, plan)

    def _inline(self, level: Level, plan: FieldPlan) -> str:
        declared = plan.declaration
        if isinstance(declared, Prefixed):
            first, again = self._column(level.rows.prefix + declared.name)
            prefix = declared.prefix.replace("{", "{{").replace("}", "}}")
            text = f"(f{prefix + '{' + again + '}'!r} if {first} is not None else {self._gives_up()})"
            if get_named_type(plan.type_).name in {"ID", "String"}:
                return text
            return self._written(plan, f"(v := {text})", "v")
        if isinstance(declared, Column):
            return self._written(plan, *self._column(level.rows.prefix + declared.name))
        assert isinstance(declared, Computed)
        self._uses_rows = True
        return self._written(plan, f"(v := {self._named('f', declared.of)}(r))", "v")

    def _written(self, plan: FieldPlan, first: str, again: str) -> str:
        """Return the expression for a leaf's response value.

        `first` reads its value the first time, `again` later.
        """
        type_ = plan.type_
        write = self._named("w", writer(type_))
        inner = type_.of_type if is_non_null_type(type_) else type_
        inline = (BUILT_IN.get(inner) or inner.extensions.get(DECLARATION)) if is_leaf_type(inner) else None
        if not isinstance(inline, InlineOutput):
            return f"{write}({first})"
        self.names.update(inline.names)
        # The first read in the test assigns the name that later reads use.
        test = inline.test.replace("{v}", "{}", 1).replace("{v}", again).replace("{}", first)
        if inline.text == "{v}" and not is_non_null_type(type_):
            test = f"{test} or {again} is None"
        return f"({inline.text.replace('{v}', again)} if {test} else {write}({again}))"

    def _gives_up(self) -> str:
        return f"{self._named('g', _give_up)}()"

    def _named(self, letter: str, value: Any) -> str:
        name = f"{letter}{len(self.names)}"
        self.names[name] = value
        return name


def _give_up() -> Any:
    raise NeedsErrorPath
