"""What Folio uses of Strawberry's inside is there."""

import pytest
import strawberry

from graph.execution.strawberry_adapter import converter_of, core_schema

SEE = "see graph/execution/strawberry_adapter.py"


@strawberry.type
class Query:
    plain: str = "plain"


schema = strawberry.Schema(query=Query)


def test_schema_of_strawberry_leads_to_the_schema_of_graphql_core_and_back() -> None:
    assert hasattr(schema, "_schema"), f"Strawberry's Schema has no _schema any more: {SEE}"
    core = core_schema(schema)
    assert hasattr(core, "_strawberry_schema"), f"the core schema has no _strawberry_schema any more: {SEE}"
    assert converter_of(core) is schema.schema_converter


def test_converter_of_strawberry_has_its_exception_handlers() -> None:
    assert hasattr(schema.schema_converter, "_exception_handler_specs"), (
        f"Strawberry's converter has no _exception_handler_specs any more: {SEE}"
    )


def test_resolver_of_a_plain_field_is_marked_as_the_default_one() -> None:
    query = core_schema(schema).query_type
    assert query is not None
    assert getattr(query.fields["plain"].resolve, "_is_default", False), (
        f"Strawberry marks resolvers of plain fields by _is_default no more: {SEE}"
    )


@pytest.mark.parametrize("name", ["_raw_info", "_field"])
def test_info_of_strawberry_is_made_of_what_we_give_it(name: str) -> None:
    assert name in strawberry.Info.__annotations__, f"Strawberry's Info has no {name} any more: {SEE}"
