"""Mutations that create, update and delete single rows: one call declares the whole mutation.

For the noun `comment` the calls make `CreateCommentInput`, `CreateCommentPayload`, `UpdateCommentInput` and so on, with
their error types (`graph.schema.mutation_kit`) and the same descriptions for every noun. The types of the fields, the
checks and the codes follow from the columns, their texts (`db.fields`) and their constraints (`db.constraints`).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import strawberry

from db.connections.statements import Row
from db.constraints import CONSTRAINTS
from db.errors import Refusal
from db.fields import STORED, TextField, check_texts
from db.repositories.child_rows import AUTHOR, ChildRows, create_row
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
from graph.schema.permissions import OWNER_OR_ADMIN, signed_in


def author_field() -> Any:
    """Declare the field `authorId` of a new row."""
    return strawberry.field(
        default=None, description="The author. The default is the viewer. Only administrators may name another user."
    )


def row_creation(rows: ChildRows, row_type: Any, description: str) -> Any:
    """Declare the mutation that creates a row with a parent.

    The input has the ids of parent and author, and the texts of `rows` that may change.
    """
    noun, key, parent = rows.noun, str(rows.key.name), NodeKind[rows.key.name.removesuffix("_id").upper()]
    texts = _texts_of(rows)
    fields: dict[str, tuple[Any, Any]] = {
        key: (
            strawberry.ID,
            strawberry.field(description=f"The id of the {parent.value}. The viewer must be able to see it."),
        )
    }
    if rows.author is not None:
        fields[AUTHOR] = (strawberry.ID | None, author_field())
    fields |= {one.name: (str, strawberry.field(description=one.description)) for one in texts}
    input_type = mutation_input(_class(f"Create{noun.capitalize()}Input", f"A {noun} to create.", fields))
    keys = [one for one in (rows.key, rows.author) if one is not None]
    codes = [rows.unknown(one).code for one in keys]
    made = {noun: (row_type | None, answer(f"The new {noun}."))}
    payload_type = payload(right=OWNER_OR_ADMIN, refused=f"Why a {noun} was refused.", codes=_codes(rows, *codes))(
        _class(f"Create{noun.capitalize()}Payload", f"The new {noun}, or the reasons why it was refused.", made)
    )

    async def resolve(info: Info, input_: Any) -> Any:
        context, columns = info.context, columns_below(info, row_type.__name__, "id")
        viewer_id = signed_in(context.viewer)
        values: dict[str, object] = {key: parse(getattr(input_, key), parent, f"input.{parent.value}Id")}
        if rows.author is not None:
            author = input_.author_id
            values[AUTHOR] = viewer_id if author is None else parse(author, NodeKind.USER, "input.authorId")
        refusals: list[Refusal] = []
        for one in texts:
            values[one.name] = text = getattr(input_, one.name)
            refusals += one.check(text)
        if refusals:
            raise Refused(refusals)
        row = await create_row(rows, context, context.viewer, columns, values)
        return payload_type(**{noun: row_type(row=row)})

    _take_types(resolve, row_creation.__name__, input_type, payload_type)
    return mutation(resolve, description, takes=f"The {noun}.")


def row_update(rows: VersionedRows, row_type: Any, changes: Mapping[str, str]) -> Any:
    """Declare the mutation that changes one row; its owner or an administrator may.

    `changes` has the description of the input field for each column that may change.
    """
    noun, kind, table, texts = rows.noun, NodeKind[rows.noun.upper()], rows.model.__table__, _texts_of(rows)
    never_null = [name for name in changes if not table.c[name].nullable and f"{table}.{name}" not in STORED]
    fields: dict[str, tuple[Any, Any]] = {"id": (strawberry.ID, strawberry.field(description=f"The id of the {noun}."))}
    fields["expected_version"] = (int | None, expected_version(noun))
    fields |= {name: (table.c[name].type.python_type | None, change(text)) for name, text in changes.items()}
    description = (
        "The changes. An absent field keeps its value. If no value differs, `version` and `updatedAt` do not change."
    )
    input_type = mutation_input(_class(f"Update{noun.capitalize()}Input", description, fields))
    codes = _codes(rows, "NOT_FOUND", "VERSION_CONFLICT")
    changed = {noun: (row_type | None, answer(f"The {noun} after the change."))}
    payload_type = payload(right=OWNER_OR_ADMIN, refused="Why a change was refused.", codes=codes)(
        _class(
            f"Update{noun.capitalize()}Payload",
            f"The changed {noun}, or the reasons why the change was refused.",
            changed,
        )
    )

    async def resolve(info: Info, input_: Any) -> Any:
        context, columns = info.context, columns_below(info, row_type.__name__, "id")
        row_id = parse(input_.id, kind, "input.id")
        given = changes_of(input_, never_null=never_null)
        if refusals := check_texts(texts, given):
            raise Refused(refusals)
        row: Row = await update_row(
            rows, context, context.viewer, columns, row_id, given, expected_version=input_.expected_version
        )
        return payload_type(**{noun: row_type(row=row)})

    _take_types(resolve, row_update.__name__, input_type, payload_type)
    return mutation(resolve, f"Changes a {noun}. Only its author and administrators may do this.", takes="The changes.")


def row_deletion(rows: VersionedRows) -> Any:
    """Declare the mutation that deletes one row; its owner or an administrator may."""
    noun, kind, deleted_id = rows.noun, NodeKind[rows.noun.upper()], f"deleted_{rows.noun}_id"
    which = {"id": (strawberry.ID, strawberry.field(description=f"The id of the {noun}."))}
    input_type = mutation_input(_class(f"Delete{noun.capitalize()}Input", f"A {noun} to delete.", which))
    gone = {deleted_id: (strawberry.ID | None, answer(f"The id of the deleted {noun}."))}
    payload_type = payload(right=OWNER_OR_ADMIN, refused="Why a deletion was refused.", codes=("NOT_FOUND",))(
        _class(
            f"Delete{noun.capitalize()}Payload",
            f"The id of the deleted {noun}, or the reasons why the deletion was refused.",
            gone,
        )
    )

    async def resolve(info: Info, input_: Any) -> Any:
        row_id = parse(input_.id, kind, "input.id")
        await delete_row(rows, info.context, info.context.viewer, row_id)
        return payload_type(**{deleted_id: global_id(kind, row_id)})

    _take_types(resolve, row_deletion.__name__, input_type, payload_type)
    return mutation(resolve, f"Deletes a {noun}. Only its author and administrators may do this.", takes=f"The {noun}.")


def _texts_of(rows: VersionedRows) -> list[TextField]:
    columns = [f"{rows.model.__tablename__}.{name}" for name in rows.changeable]
    return [STORED[column] for column in columns if column in STORED]


def _codes(rows: VersionedRows, *codes: str) -> list[str]:
    return [*codes, *(one.code for one in _texts_of(rows)), *unique_codes(rows.model.__tablename__)]


def unique_codes(table: str) -> Iterable[str]:
    """Return the codes of the unique constraints of a table, which each write of its texts may violate."""
    return [refusal.code for name, refusal in CONSTRAINTS.items() if name.startswith(f"uq_{table}_")]


def _class(name: str, description: str, fields: Mapping[str, tuple[Any, Any]]) -> Any:
    annotations = {field: type_ for field, (type_, _) in fields.items()}
    values = {field: value for field, (_, value) in fields.items()}
    return type(name, (), {"__doc__": description, "__annotations__": annotations, "__module__": __name__, **values})


def _take_types(resolve: Any, name: str, input_type: Any, payload_type: Any) -> None:
    resolve.__name__ = name
    resolve.__annotations__ = {"info": Info, "input_": input_type, "return": payload_type}
