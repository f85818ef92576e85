"""Update and delete mutations for nouns with versioned rows: one call declares the whole mutation.

For the noun `comment` the calls make `UpdateCommentInput`, `UpdateCommentPayload`, `DeleteCommentInput`,
`DeleteCommentPayload` and their error types (`graph.schema.mutation_kit`), with the same descriptions for every noun.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import strawberry

from db.connections.statements import Row
from db.fields import TextField, check_texts
from db.repositories.versioned_rows import VersionedRows, delete_row, update_row
from graph.runtime.context import Info, columns_below
from graph.schema.ids import NodeKind, global_id, parse
from graph.schema.mutation_kit import (
    Refused,
    answer,
    change,
    changes_of,
    expected_version,
    mutation,
    mutation_input,
    payload,
)
from graph.schema.nodes import OBJECT_OF
from graph.schema.permissions import OWNER_OR_ADMIN


def row_update(
    rows: VersionedRows,
    kind: NodeKind,
    row_type: type,
    changes: Mapping[str, tuple[type, str]],
    texts: Sequence[TextField],
    never_null: Collection[str] = (),
) -> Any:
    """Declare the mutation that changes one row; its owner or an administrator may.

    Args:
        rows: the rows of the noun.
        kind: the kind of the ids.
        row_type: the GraphQL type of a row.
        changes: for each column that may change, the type of its value and the description of the input field.
        texts: the specifications of the texts among them.
        never_null: the other columns that cannot be null.
    """
    noun = rows.noun
    input_type, payload_type = _update_input(noun, changes), _update_payload(noun, row_type, texts)

    async def resolve(info: Info, input_: Any) -> Any:
        context, columns = info.context, columns_below(info, row_type.__name__, "id")
        row_id = parse(input_.id, kind, "input.id")
        given = changes_of(input_, never_null=never_null)
        if refusals := check_texts(texts, given):
            raise Refused(refusals)
        row: Row = await update_row(
            rows, context, context.viewer, columns, row_id, given, expected_version=input_.expected_version
        )
        return payload_type(**{noun: OBJECT_OF[row_type.__name__](row)})

    _take_types(resolve, row_update.__name__, input_type, payload_type)
    description = f"Changes a {noun}. Only its author and administrators may do this."
    return mutation(resolve, description, takes="The changes.")


def _update_input(noun: str, changes: Mapping[str, tuple[type, str]]) -> Any:
    fields: dict[str, tuple[Any, Any]] = {"id": (strawberry.ID, strawberry.field(description=f"The id of the {noun}."))}
    fields["expected_version"] = (int | None, expected_version(noun))
    fields |= {name: (type_ | None, change(text)) for name, (type_, text) in changes.items()}
    description = (
        "The changes. An absent field keeps its value. If no value differs, `version` and `updatedAt` do not change."
    )
    return mutation_input(_class(f"Update{noun.capitalize()}Input", description, fields))


def _update_payload(noun: str, row_type: type, texts: Sequence[TextField]) -> Any:
    codes = ("NOT_FOUND", "VERSION_CONFLICT", *(one.code for one in texts))
    fields = {noun: (row_type | None, answer(f"The {noun} after the change."))}
    declared = _class(
        f"Update{noun.capitalize()}Payload", f"The changed {noun}, or the reasons why the change was refused.", fields
    )
    return payload(right=OWNER_OR_ADMIN, refused="Why a change was refused.", codes=codes)(declared)


def row_deletion(rows: VersionedRows, kind: NodeKind) -> Any:
    """Declare the mutation that deletes one row; its owner or an administrator may."""
    noun, deleted_id = rows.noun, f"deleted_{rows.noun}_id"
    input_type = mutation_input(
        _class(
            f"Delete{noun.capitalize()}Input",
            f"A {noun} to delete.",
            {"id": (strawberry.ID, strawberry.field(description=f"The id of the {noun}."))},
        )
    )
    payload_type = payload(right=OWNER_OR_ADMIN, refused="Why a deletion was refused.", codes=("NOT_FOUND",))(
        _class(
            f"Delete{noun.capitalize()}Payload",
            f"The id of the deleted {noun}, or the reasons why the deletion was refused.",
            {deleted_id: (strawberry.ID | None, answer(f"The id of the deleted {noun}."))},
        )
    )

    async def resolve(info: Info, input_: Any) -> Any:
        row_id = parse(input_.id, kind, "input.id")
        await delete_row(rows, info.context, info.context.viewer, row_id)
        return payload_type(**{deleted_id: global_id(kind, row_id)})

    _take_types(resolve, row_deletion.__name__, input_type, payload_type)
    description = f"Deletes a {noun}. Only its author and administrators may do this."
    return mutation(resolve, description, takes=f"The {noun}.")


def _class(name: str, description: str, fields: Mapping[str, tuple[Any, Any]]) -> Any:
    annotations = {field: type_ for field, (type_, _) in fields.items()}
    values = {field: value for field, (_, value) in fields.items()}
    return type(name, (), {"__doc__": description, "__annotations__": annotations, "__module__": __name__, **values})


def _take_types(resolve: Any, name: str, input_type: Any, payload_type: Any) -> None:
    resolve.__name__ = name
    resolve.__annotations__ = {"info": Info, "input_": input_type, "return": payload_type}
