"""Generates the function that completes a level: one list comprehension, generated when the level first runs.

For `posts { id title author { username } }`, with the author joined into the post's row, the function is

    def complete(rows):
        return [{
            "id": (f"post_{v}" if (v := r["id"]) is not None else g0()),
            "title": (v if type(v := r["title"]) is str else w1(v)),
            "author": {"username": (v if type(v := r["author.username"]) is str else w2(v))},
        } for r in rows]

where `w1` is the writer of `String!`. One function completes the payload of a mutation and all objects below it,
if nothing there waits (`payload_completer`):

    def complete(o0):
        return {"createPost": ({
            "post": ({"id": …} if type(o1 := o0.post) is c1 else None if o1 is None else g0()),
        } if type(o0) is c0 else g0())}

Where the rows are a table, the loop runs over its columns in parallel:

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

from graph.execution.declarations import DECLARATION, Column, Computed, Derived, Prefixed, plain_class_of
from graph.execution.plan.levels import FieldKind, FieldPlan, Level
from graph.execution.plan.scalar_output import BUILT_IN, InlineOutput, NeedsErrorPath, writer

# A payload with more objects is completed level by level: each place in it has its own code.
PAYLOAD_OBJECTS_MAX = 30


class _NotInline(Exception):  # noqa: N818 - not an error
    """The data of a payload cannot be made by one expression."""


def completer(level: Level) -> Callable[..., list[Any]]:
    """Return the function that completes a level. Its arguments are the rows, then one list for each kept field."""
    if level.complete is None:
        text = _Text(by_column=level.rows.by_column)
        body = text.object(level, {plan.slot: text.kept(plan, f"x{plan.slot}") for plan in level.kept})
        lists = [f"k{plan.slot}" for plan in level.kept]
        loop = text.loop([f"x{plan.slot}" for plan in level.kept], lists)
        level.source = f"def complete(rows, {', '.join(lists)}):\n    return [{body} {loop}]\n"
        level.complete = _compiled(level, level.source, text.names)
    return level.complete


def payload_completer(root: Level) -> Callable[[Any], dict[str, Any]] | None:
    """Return the function that completes a root level whose only kept field has a resolver, such as a mutation.

    It takes what the resolver has returned. It raises an exception where a value has another class than its type, or
    where a field has an error: a general run must complete the level then.

    Returns:
        None if a field below may have to wait, or where the level has another form.
    """
    plan = root.kept[0] if len(root.kept) == 1 else None
    if plan is None or plan.kind is not FieldKind.OPAQUE or plan.place is None or root.uses_rows:
        return None
    text = _Text(by_column=False)
    try:
        body = text.object(root, {plan.slot: text.objects(plan, "o0")})
    except _NotInline:
        return None
    return _compiled(root, f"def complete(o0):\n    return {body}\n", text.names)


def _compiled(level: Level, source: str, names: dict[str, Any]) -> Callable[..., Any]:
    exec(compile(source, f"<level {level.type_.name}>", "exec"), names)  # noqa: S102 - no client input, see above
    made: Callable[..., Any] = names.pop("complete")  # without the pop, the function and its globals form a cycle
    return made


class _Text:
    def __init__(self, *, by_column: bool) -> None:
        self.names: dict[str, Any] = {}
        self._by_column = by_column
        self._columns: dict[str, str] = {}
        self._uses_rows = not by_column
        self._objects = 0

    def object(self, level: Level, kept: dict[int, str], row: str = "r") -> str:
        """Return the expression for one object's response data.

        Args:
            level: its level.
            kept: the expressions for the response values of kept fields, by slot.
            row: the expression of its row.
        """
        members = [f"{plan.key!r}: {self._field(level, plan, kept, row)}" for plan in level.fields]
        return "{" + ", ".join(members) + "}"

    def kept(self, plan: FieldPlan, name: str) -> str:
        """Return the expression for the response value of a kept field, whose value, or data, `name` has."""
        return name if plan.place is not None else self._written(plan, name, name)

    def objects(self, plan: FieldPlan, value: str) -> str:
        """Return the expression for the data of the objects that a field leads to; `value` is the field's value.

        Raises:
            _NotInline: something below may have to wait, or there are too many objects.
        """
        below = plan.place.only if plan.place is not None and not plan.place.needs_paths else None
        bare = below is not None and below.rows.bare
        made = None if below is None or bare else plain_class_of(below.type_)
        self._objects += 1
        if below is None or (made is None and not bare) or plan.lists > 1 or self._objects > PAYLOAD_OBJECTS_MAX:
            raise _NotInline
        value_name, item = f"v{self._objects}", f"o{self._objects}"
        row = item if bare else f"{item}.row"
        kept = {one.slot: self._inlined(below, one, item, row) for one in below.kept}
        data = self.object(below, kept, row)
        if plan.lists:
            if made is not None:
                data = f"{data} if type({item}) is {self._named('c', made)} else {self._gives_up()}"
            items = f"[{data} for {item} in {value_name}]"
            return f"({items} if type({value_name} := {value}) is list else {self._gives_up()})"
        if made is None:  # a bare row, which is never null
            return f"({data} if ({item} := {value}) is not None else {self._gives_up()})"
        otherwise = (
            self._gives_up() if is_non_null_type(plan.type_) else f"None if {item} is None else {self._gives_up()}"
        )
        return f"({data} if type({item} := {value}) is {self._named('c', made)} else {otherwise})"

    def _inlined(self, level: Level, plan: FieldPlan, source: str, row: str) -> str:
        """Return the expression for the response value of a kept field of the object `source`."""
        declared = plan.declaration
        if plan.kind is FieldKind.ATTRIBUTE:
            value = f"{source}.{plan.attribute}"
        elif isinstance(declared, Computed):
            value = f"{self._named('f', declared.of)}({row})"
        elif (
            isinstance(declared, Derived) and declared.ready is not None and not declared.table and not level.rows.bare
        ):
            value = f"{self._named('f', declared.ready)}({source})"
        else:
            raise _NotInline
        return self._written(plan, f"(v := {value})", "v") if plan.place is None else self.objects(plan, value)

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

    def _column(self, name: str, row: str) -> tuple[str, str]:
        """Return the expression that reads a column the first time, and the one for later reads."""
        if not self._by_column:
            return f"(v := {row}[{name!r}])", "v"
        bound = self._columns.setdefault(name, f"c{len(self._columns)}")
        return bound, bound

    def _field(self, level: Level, plan: FieldPlan, kept: dict[int, str], row: str) -> str:
        if plan.kind is FieldKind.TYPENAME:
            return repr(level.type_.name)
        if plan.slot >= 0:
            return kept[plan.slot]
        if plan.kind is FieldKind.JOINED:
            assert plan.place is not None
            assert plan.place.only is not None
            return self.object(plan.place.only, {}, row)
        return self._inline(level, plan, row)

    def _inline(self, level: Level, plan: FieldPlan, row: str) -> str:
        declared = plan.declaration
        if isinstance(declared, Prefixed):
            first, again = self._column(level.rows.prefix + declared.name, row)
            prefix = declared.prefix.replace("{", "{{").replace("}", "}}")
            text = f"(f{prefix + '{' + again + '}'!r} if {first} is not None else {self._gives_up()})"
            if get_named_type(plan.type_).name in {"ID", "String"}:
                return text
            return self._written(plan, f"(v := {text})", "v")
        if isinstance(declared, Column):
            return self._written(plan, *self._column(level.rows.prefix + declared.name, row))
        assert isinstance(declared, Computed)
        self._uses_rows = True
        return self._written(plan, f"(v := {self._named('f', declared.of)}({row}))", "v")

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
