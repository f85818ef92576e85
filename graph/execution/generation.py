"""The code that writes the answers of a level: one comprehension for each, made when the level is first run.

For `posts { id title author { username } }`, with the author joined into the post's row, it is

    def complete(rows):
        return [{
            "id": (f"post_{v}" if (v := r["id"]) is not None else g0()),
            "title": (v if type(v := r["title"]) is str else w1(v)),
            "author": {"username": (v if type(v := r["author.username"]) is str else w2(v))},
        } for r in rows]

where `w1` is the writer of `String!`. Nothing here knows paths or errors: at the first null that may not be, the
first value that a type does not take, it gives up by raising, and the answer is completed again by
`graph.execution.completion`. Names in the text come from the schema or are numbered by us; response keys and columns
are quoted. The text of a level is kept in `Level.source`.
"""

from collections.abc import Callable
from typing import Any

from graphql import get_named_type, is_leaf_type, is_non_null_type

from graph.execution.declarations import Column, Computed, Prefixed
from graph.execution.leaves import UNCHANGED, NotSimple, writer
from graph.execution.plan import FieldPlan, Kind, Level


def completer(level: Level) -> Callable[..., list[Any]]:
    """Return the function that completes a level: of its rows, then of one list for each kept field."""
    if level.complete is None:
        text = _Text()
        body = text.object(level, "r", {plan.slot: f"x{plan.slot}" for plan in level.kept})
        lists = [f"k{plan.slot}" for plan in level.kept]
        if lists:
            loop = f"for r, {', '.join(f'x{plan.slot}' for plan in level.kept)} in zip(rows, {', '.join(lists)})"
        else:
            loop = "for r in rows"
        level.source = f"def complete(rows, {', '.join(lists)}):\n    return [{body} {loop}]\n"
        names: dict[str, Any] = text.names
        exec(compile(level.source, f"<level {level.type_.name}>", "exec"), names)  # noqa: S102 - our own text, see above
        level.complete = names["complete"]
    return level.complete


class _Text:
    def __init__(self) -> None:
        self.names: dict[str, Any] = {}

    def object(self, level: Level, row: str, kept: dict[int, str]) -> str:
        """Return the expression of one object's answer."""
        members = [f"{plan.key!r}: {self._field(level, plan, row, kept)}" for plan in level.fields]
        return "{" + ", ".join(members) + "}"

    def _field(self, level: Level, plan: FieldPlan, row: str, kept: dict[int, str]) -> str:
        if plan.kind is Kind.TYPENAME:
            return repr(level.type_.name)
        if plan.slot >= 0:
            name = kept[plan.slot]
            return name if plan.place is not None else self._written(plan, name)
        if plan.kind is Kind.JOINED:
            assert plan.place is not None
            assert plan.place.only is not None
            return self.object(plan.place.only, row, {})
        return self._inline(level, plan, row)

    def _inline(self, level: Level, plan: FieldPlan, row: str) -> str:
        declared = plan.declaration
        if isinstance(declared, Prefixed):
            column = f"{row}[{level.rows.prefix + declared.name!r}]"
            prefix = declared.prefix.replace("{", "{{").replace("}", "}}")
            text = f"(f{prefix + '{v}'!r} if (v := {column}) is not None else {self._gives_up()})"
            return text if get_named_type(plan.type_).name in {"ID", "String"} else self._written(plan, text)
        if isinstance(declared, Column):
            return self._written(plan, f"{row}[{level.rows.prefix + declared.name!r}]")
        assert isinstance(declared, Computed)
        return self._written(plan, f"{self._named('c', declared.of)}({row})")

    def _written(self, plan: FieldPlan, value: str) -> str:
        """Return the expression of a leaf's answer."""
        type_ = plan.type_
        write = self._named("w", writer(type_))
        inner = type_.of_type if is_non_null_type(type_) else type_
        unchanged = UNCHANGED.get(inner) if is_leaf_type(inner) else None
        if unchanged is None:
            return f"{write}({value})"
        # The value gets its name where the test first reads it.
        test = unchanged.replace("{v}", "{}", 1).replace("{v}", "v").replace("{}", f"(v := {value})")
        test = test if is_non_null_type(type_) else f"{test} or v is None"
        return f"(v if {test} else {write}(v))"

    def _gives_up(self) -> str:
        return f"{self._named('g', _give_up)}()"

    def _named(self, letter: str, value: Any) -> str:
        name = f"{letter}{len(self.names)}"
        self.names[name] = value
        return name


def _give_up() -> Any:
    raise NotSimple
