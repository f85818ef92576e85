"""One declaration of a mutation makes its types and states its right. A missing part is an error that names it."""

from typing import Any

import pytest
import strawberry
from graphql import GraphQLError

from db.access import ANONYMOUS, Viewer
from db.errors import Refusal
from graph.errors import BadInput, Unauthenticated
from graph.runtime.context import Info
from graph.schema.mutation_kit import (
    ALONE,
    Items,
    answer,
    change,
    changes_of,
    mutation,
    mutation_input,
    payload,
    with_errors,
)
from graph.schema.permissions import OWNER_OR_ADMIN, SIGNED_IN, Right, admins_alone, public
from graph.schema.row_mutations import unique_codes

MEMBER, ADMIN = Viewer(user_id=1), Viewer(user_id=2, is_admin=True)


@mutation_input
class PaintInput:
    """What to paint.

    And how.
    """

    id: int = strawberry.field(description="Which.")
    colour: str | None = change("A colour; never null.")
    is_wet: bool | None = change("Whether it is wet; never null.")


@payload(right=OWNER_OR_ADMIN, refused="Why it was not painted.", codes=("NOT_FOUND", "VERSION_CONFLICT"))
class PaintPayload:
    """What was painted."""

    colour: str | None = answer("The colour.")
    coats: list[int] = answer("The coats.", default=[])


async def paint(info: Info, input_: PaintInput) -> PaintPayload:
    """Paint it."""
    return PaintPayload(colour=input_.colour)


@strawberry.type
class Query:
    one: int = strawberry.field(default=1, description="One.")


@strawberry.type
class Mutation:
    paint: PaintPayload = mutation(paint, "Paints.", takes="The paint.")


def test_one_declaration_makes_enum_error_and_payload() -> None:
    text = strawberry.Schema(query=Query, mutation=Mutation).as_str()
    for part in (
        '"""Why it was not painted."""\nenum PaintErrorCode {\n  """The object does not exist, or the viewer may not ',
        '"""Why it was not painted."""\ntype PaintUserError implements UserError {',
        "  code: PaintErrorCode!\n",
        '"""What to paint. And how."""\ninput PaintInput {',
        '  """The colour."""\n  colour: String\n',
        "  coats: [Int!]!\n",
        '  """The reasons why the mutation was refused. Empty if it was not."""\n  userErrors: [PaintUserError!]!',
        '    """The paint."""\n    input: PaintInput!\n',
    ):
        assert part in text, part


def test_a_mutation_without_a_right_cannot_be_declared() -> None:
    class NoRightPayload:
        """The payload of a mutation that states no right."""

    with pytest.raises(
        LookupError, match=r"^the mutation of NoRightPayload has no right: declare it by @payload\(right=…\)"
    ):
        payload(refused="Why not.", codes=("NOT_FOUND",))(NoRightPayload)


def test_a_mutation_whose_payload_was_not_declared_cannot_be_declared() -> None:
    async def bare(info: Info) -> int:
        return 1

    with pytest.raises(
        LookupError, match=r"^declare what bare returns by @payload\(right=…\) of graph/schema/mutation"
    ):
        mutation(bare, "Bare.")


@pytest.mark.parametrize(
    ("right", "viewer", "refused"),
    [
        (SIGNED_IN, ANONYMOUS, Unauthenticated),
        (SIGNED_IN, MEMBER, None),
        (OWNER_OR_ADMIN, ANONYMOUS, Unauthenticated),
        (public("it is a test"), ANONYMOUS, None),
        (admins_alone("paint"), ANONYMOUS, Unauthenticated),
        (admins_alone("paint"), MEMBER, GraphQLError),
        (admins_alone("paint"), ADMIN, None),
    ],
)
def test_a_right_is_decided_by_the_caller_where_it_can_be(
    right: Right, viewer: Viewer, refused: type[Exception] | None
) -> None:
    if refused is None:
        right.ensure(viewer)
        return
    with pytest.raises(refused) as error:
        right.ensure(viewer)
    if isinstance(error.value, GraphQLError) and not isinstance(error.value, Unauthenticated):
        assert (str(error.value), error.value.extensions) == ("only administrators paint", {"code": "FORBIDDEN"})


def test_with_errors_has_an_entry_for_each_refusal_in_the_types_of_the_mutation() -> None:
    refusals = [Refusal("NOT_FOUND", ("id",), "no such wall"), Refusal("VERSION_CONFLICT", (), "painted since")]
    refused: Any = with_errors(PaintPayload(), refusals)
    assert (refused.colour, refused.coats) == (None, [])
    assert [(one.field, one.message, one.code.value) for one in refused.user_errors] == [
        (["input", "id"], "no such wall", "NOT_FOUND"),
        (None, "painted since", "VERSION_CONFLICT"),
    ]
    assert {type(one).__name__ for one in refused.user_errors} == {"PaintUserError"}
    with pytest.raises(KeyError):
        with_errors(PaintPayload(), [Refusal("EMAIL_TAKEN", (), "not of this mutation")])


def test_changes_are_the_given_fields_and_null_where_it_must_not_be_is_named() -> None:
    assert changes_of(PaintInput(id=1)) == {}
    assert changes_of(PaintInput(id=1, colour=None)) == {"colour": None}
    assert changes_of(PaintInput(id=1, is_wet=False), never_null=("is_wet",)) == {"is_wet": False}
    with pytest.raises(BadInput, match=r"^input\.isWet cannot be null; leave it out to keep it$"):
        changes_of(PaintInput(id=1, is_wet=None), never_null=("is_wet",))


def test_the_place_of_an_item_is_that_of_the_input_where_there_is_no_list() -> None:
    walls, refusal = Items("walls"), Refusal("NOT_FOUND", ("id",), "no such wall")
    assert (walls.path(3), walls.where(3)) == (("walls", "3"), "input.walls[3]")
    assert (ALONE.path(0), ALONE.where(0)) == ((), "input")
    assert walls.refusal_of_any(refusal, 1).field == ("walls", "0", "id")
    assert walls.refusal_of_any(refusal, 2).field == ("walls",)
    assert ALONE.refusal_of_any(refusal, 1).field == ("id",)


def test_codes_of_a_table_are_those_of_its_unique_constraints() -> None:
    assert unique_codes("users") == ["EMAIL_TAKEN", "USERNAME_TAKEN"]
    assert unique_codes("comments") == []
