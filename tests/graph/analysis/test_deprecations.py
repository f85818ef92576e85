"""Deprecated elements are found in a document once, and their use is counted at each run."""

from graphql import GraphQLSchema, build_schema

from graph.operations.cache import Operations
from graph.telemetry.current import Observation
from graph.telemetry.metrics import Metrics
from graph.telemetry.traces import trace_of
from tests.graph.support.analysing import analysed

SCHEMA = """
directive @shout(loudly: Boolean @deprecated) on FIELD
enum Order { NEW OLD @deprecated }
input Filter { tag: String, word: String @deprecated, order: Order }
interface Node { id: ID, key: ID @deprecated }
type Post implements Node { id: ID, key: ID @deprecated, body: String @deprecated, next(skip: Int @deprecated): Post }
type Query { post(filter: Filter, orders: [Order!], at: Int @deprecated): Post, node: Node, old: String @deprecated }
"""


def schema() -> GraphQLSchema:
    return build_schema(SCHEMA)


def found(text: str, name: str | None = None) -> tuple[str, ...]:
    return analysed(text, name, schema()).deprecated


def test_elements_that_are_not_deprecated_are_not_found() -> None:
    assert found("query($f: Filter) { post(filter: $f, orders: [NEW]) { id next { id } } node { id } }") == ()


def test_every_kind_of_deprecated_element_is_found_once() -> None:
    text = """{
        post(at: 1, orders: [OLD], filter: {word: "w", order: OLD}) { body key next(skip: 1) { body } }
        node { key } old @shout(loudly: true)
    }"""
    assert found(text) == (
        "@shout(loudly:)",
        "Filter.word",
        "Node.key",
        "Order.OLD",
        "Post.body",
        "Post.key",
        "Post.next(skip:)",
        "Query.old",
        "Query.post(at:)",
    )


def test_argument_after_a_nested_field_belongs_to_its_own_field() -> None:
    assert found("{ post { next { next(skip: 1) { id } } } }") == ("Post.next(skip:)",)


def test_default_of_a_variable_is_found() -> None:
    assert found("query($o: [Order!] = [OLD]) { post(orders: $o) { id } }") == ("Order.OLD",)


def test_fragment_belongs_to_the_operation_that_spreads_it() -> None:
    text = "query A { post { ...F } } query B { post { id } } fragment F on Post { ...G } fragment G on Post { body }"
    assert (found(text, "A"), found(text, "B")) == (("Post.body",), ())


def test_operation_keeps_its_deprecated_elements_and_each_run_is_counted() -> None:
    operations = Operations(schema(), introspection=True, suggestions=True)
    metrics = Metrics()
    for _ in range(3):
        operation = operations.find("{ old post { body } }", None)
        seen = Observation("", trace_of([]), None)
        seen.kind, seen.deprecated = "query", operation.deprecated
        metrics.finished(seen)
    assert (operations.hits, operations.misses) == (2, 1)
    for coordinate in ("Query.old", "Post.body"):
        count = f'folio_deprecated_uses_total{{coordinate="{coordinate}",worker='
        (line,) = [one for one in metrics.page().decode().splitlines() if one.startswith(count)]
        assert line.endswith(" 3.0")
