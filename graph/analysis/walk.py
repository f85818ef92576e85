"""The one walk over an operation before it runs. It collects the price, the limits, the columns and the deprecations.

A field is visited once for each selection set in which it is written. A fragment is analysed once, at its first spread,
and its summary is added wherever else it is spread. So the walk is linear in the size of the document however its
fragments nest: 95 fragments that each spread the next one twice take as long as 190 fields, although they stand for
2^95. (Validation has refused circular ones.) A fragment on an interface is analysed once for each type of the objects
on which it is spread, since the fields of these types declare different things.

The load of a fragment can depend on where it is spread: below a connection, the arguments of the connection set the
length of `edges` and `nodes`. A summary therefore keeps the load of one item of each such list (`open`), and the field
above the spread adds the lengths.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from graph.analysis.field_facts import Composite, FieldFacts, SchemaFacts, narrowed
from graph.analysis.input_values import InputValues
from graph.analysis.lengths import length_of
from graph.analysis.loads import Amount, Formula
from graph.analysis.pricing import Measured, Pricing
from graph.analysis.selection import Coordinate, Needs, Selection


@dataclass(frozen=True, slots=True)
class Analysis:
    """The results of the walk over an operation, before it runs.

    Attributes:
        selection: the columns that it reads where nothing is joined.
        joined: the columns that it reads where statements join the rows that edges lead to.
        deprecated: the coordinates of the deprecated parts of the schema that it uses, sorted.
        reads_schema_alone: whether it is an introspection and nothing else.
    """

    pricing: Pricing
    selection: Selection
    joined: Selection
    deprecated: tuple[str, ...]
    reads_schema_alone: bool


def analyse(
    facts: SchemaFacts, operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Analysis:
    """Analyse one operation of a valid document, which has the fragments `fragments` by their names."""
    deprecated: set[str] = set()
    aside = _Walk(facts, fragments, deprecated, None)
    return _Walk(facts, fragments, deprecated, aside).operation(operation)


class _Summary:
    """The counts and columns of a selection set, including the parts that the fields above it complete.

    Attributes:
        fields: how many fields it has at its own level.
        open: the load of one item of each list whose length the field above decides, by the list's field name.
    """

    __slots__ = ("aliases", "depth", "directives", "fields", "load", "needs", "open", "sensitive")

    def __init__(self) -> None:
        self.depth = 0
        self.aliases = 0
        self.fields = 0
        self.directives = 0
        self.sensitive = 0
        self.load = Amount()
        self.open: dict[str, Amount] = {}
        self.needs = Needs()

    def add(self, other: "_Summary") -> None:
        """Add the summary of a fragment that is spread here."""
        self.depth = max(self.depth, other.depth)
        self.aliases += other.aliases
        self.fields += other.fields
        self.directives += other.directives
        self.sensitive += other.sensitive
        self.load.add(other.load)
        for name, load in other.open.items():
            self.open_load(name).add(load)
        self.needs.add(other.needs)

    def open_load(self, name: str) -> Amount:
        """Return the load of the open list `name`, to add to it."""
        return self.open.setdefault(name, Amount())


class _Walk:
    """One walk over one operation."""

    def __init__(
        self,
        facts: SchemaFacts,
        fragments: Mapping[str, FragmentDefinitionNode],
        deprecated: set[str],
        aside: "_Walk | None",
    ) -> None:
        self._facts = facts
        self._schema = facts.schema
        self._fragments = fragments
        self._deprecated = deprecated
        self._aside = aside
        self._summaries: dict[tuple[str, str], _Summary] = {}
        self._formula = Formula()
        self._inputs = InputValues(facts.schema, self._formula, deprecated)
        self._needs: dict[Coordinate, Needs] = {}
        self._reads_one_row = False
        self._reads_schema_alone = True

    def operation(self, operation: OperationDefinitionNode) -> Analysis:
        root = self._schema.get_root_type(operation.operation)
        assert root is not None  # the document is valid
        for definition in operation.variable_definitions or ():
            self._inputs.variable(definition)
        self._inputs.directives(operation.directives or ())
        total = _Summary()
        self._selections(root, root, operation.selection_set, total)
        for load in total.open.values():
            total.load.add(load)
        measured = Measured(
            depth=total.depth,
            aliases=total.aliases,
            root_fields=total.fields,
            directives=total.directives + len(operation.directives or ()),
            sensitive_root_fields=total.sensitive,
            load=total.load,
        )
        is_single = len(self._needs) == 1 and self._reads_one_row
        return Analysis(
            pricing=Pricing(operation, measured, self._formula),
            selection=Selection(self._needs, joins=False, is_single=is_single),
            joined=Selection(self._needs, joins=True, is_single=is_single),
            deprecated=tuple(sorted(self._deprecated)),
            reads_schema_alone=self._reads_schema_alone,
        )

    def _selections(
        self, parent: Composite, written_on: Composite, selection_set: SelectionSetNode, total: _Summary
    ) -> None:
        """Add a selection set to `total`: fields of the type `parent`, written on the type `written_on`.

        The types differ only where a fragment on an interface is spread on an object. The fields of the object are
        those that run; the fields of the interface are those that are deprecated, or not.
        """
        for node in selection_set.selections:
            if isinstance(node, FieldNode):
                self._field(parent, written_on, node, total)
                continue
            if node.directives:
                total.directives += len(node.directives)
                self._inputs.directives(node.directives)
            if isinstance(node, InlineFragmentNode):
                condition = node.type_condition.name.value if node.type_condition else None
                within = narrowed(self._schema, parent, condition)
                on = written_on if condition is None else self._type(condition)
                self._selections(within, on, node.selection_set, total)
            elif isinstance(node, FragmentSpreadNode):
                total.add(self._fragment(parent, self._fragments[node.name.value]))

    def _fragment(self, parent: Composite, fragment: FragmentDefinitionNode) -> _Summary:
        condition = fragment.type_condition.name.value
        within = narrowed(self._schema, parent, condition)
        key = (fragment.name.value, within.name)
        summary = self._summaries.get(key)
        if summary is None:
            self._inputs.directives(fragment.directives or ())
            summary = self._summaries[key] = _Summary()
            self._selections(within, self._type(condition), fragment.selection_set, summary)
            for load in (summary.load, *summary.open.values()):
                self._formula.fold(load)
        return summary

    def _type(self, name: str) -> Composite:
        type_ = self._schema.get_type(name)
        assert isinstance(type_, Composite)  # the document is valid
        return type_

    def _field(self, parent: Composite, written_on: Composite, node: FieldNode, total: _Summary) -> None:
        name = node.name.value
        facts = self._facts.field(parent, name)
        written = facts if written_on is parent else self._facts.field(written_on, name)
        assert written is not None  # the document is valid
        if written.is_deprecated:
            self._deprecated.add(written.coordinate)
        total.fields += 1
        total.aliases += node.alias is not None
        total.depth = max(total.depth, 1)
        if node.directives:
            total.directives += len(node.directives)
            self._inputs.directives(node.directives)
        if facts is None or (node.selection_set is not None and facts.target is None):
            self._unreachable(written_on, node)
            return
        if facts.is_data:
            self._reads_schema_alone = False
        if facts.is_sensitive and (name != "updateUser" or _may_give_password(node)):
            total.sensitive += 1
        total.needs.add_field(facts)
        item = Amount(facts.cost, 1, facts.bytes + len(node.alias.value if node.alias else name))
        if node.arguments:
            item.add(self._inputs.arguments(node.arguments, written.arguments, written.coordinate))
        open_loads: Mapping[str, Amount] = {}
        if node.selection_set is not None:
            assert facts.target is not None
            assert written.target is not None
            below = _Summary()
            self._selections(facts.target, written.target, node.selection_set, below)
            total.depth = max(total.depth, 1 + below.depth)
            total.aliases += below.aliases
            total.directives += below.directives
            self._add_needs(parent, name, facts, below.needs, total.needs)
            item.add(below.load)
            open_loads = below.open
        self._add_load(node, facts, item, open_loads, total)

    def _unreachable(self, written_on: Composite, node: FieldNode) -> None:
        """Collect the deprecated parts of a field that cannot run where its fragment is spread.

        An example is a field of a post in a fragment on any node that is spread on a user. Nothing else of such a field
        counts here. So a separate walk visits it. All such fields share this walk, which visits each fragment once.
        """
        walk = self if self._aside is None else self._aside
        walk._field(written_on, written_on, node, _Summary())  # noqa: SLF001 - the same class

    def _add_needs(self, parent: Composite, name: str, facts: FieldFacts, below: Needs, needs: Needs) -> None:
        """Add the needs of the selection set below a field.

        Connections, edges, pages and payloads only wrap rows: their needs belong to the field that leads to the rows.
        """
        if facts.join_prefix is not None and facts.target is not None:
            columns = below.columns.get(facts.target.name, ())
            needs.joined.setdefault(parent.name, set()).update([facts.join_prefix + one for one in columns])
        if facts.reads_rows:
            self._reads_one_row = facts.reads_one_row
            self._needs.setdefault((parent.name, name), Needs()).add(below, joined=facts.joins)
        else:
            needs.add(below)

    def _add_load(
        self, node: FieldNode, facts: FieldFacts, item: Amount, open_loads: Mapping[str, Amount], total: _Summary
    ) -> None:
        """Add a field, of which `item` is one value without the open lists below it, to the load of `total`."""
        formula, slicing = self._formula, facts.slicing
        length = 1 if slicing is None else length_of(slicing, node.arguments or (), formula)
        for name, load in open_loads.items():
            formula.add(item, load, length if slicing is not None and name in slicing.sized else 1)
        formula.fold(item)
        if facts.is_open:
            total.open_load(node.name.value).add(item)
        else:
            formula.add(total.load, item, length if facts.is_sliced else facts.times)


def _may_give_password(node: FieldNode) -> bool:
    """Return whether an updateUser may set a password. It is True if the input is a variable: its value is unknown."""
    inputs = [one.value for one in node.arguments or ()]
    return any(
        not isinstance(one, ObjectValueNode) or any(given.name.value == "password" for given in one.fields)
        for one in inputs
    )
