"""The shared parts of all mutations: their declarations, and the conversion of refusals to entries of `userErrors`.

A mutation has four declarations:

    @mutation_input
    class UpdatePostInput:
        '''Absent fields stay as they are.'''

        id: strawberry.ID = strawberry.field(description="Which post.")
        title: str | None = change("A new title; never null.")

    @payload(right=OWNER_OR_ADMIN, refused="Why a change was refused.", codes=("NOT_FOUND", TITLE.code))
    class UpdatePostPayload:
        '''The changed post, or the reasons why the change was refused.'''

        post: Post | None = answer("The post after the change.")

    async def update_post(info: Info, input_: UpdatePostInput) -> UpdatePostPayload: ...

    update_post: UpdatePostPayload = mutation(update_post, "Changes a post.", takes="The changes.")

The docstrings are the descriptions in the schema. `UpdatePostErrorCode`, `UpdatePostUserError` and the field
`userErrors` are made from the payload's name and codes. The resolver raises a `Refusal`, or `Refused` for several
refusals, or returns a payload without errors.
"""

import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import wraps
from types import GenericAlias
from typing import Annotated, Any, TypeVar, dataclass_transform

import strawberry

from db.errors import Refusal
from db.fields import BODY, CONTENT, MEMO, TITLE, USERNAME
from graph.analysis.cost import FREE, WRITE
from graph.errors import BadInput
from graph.runtime.context import Info
from graph.schema.nodes import UserError, path_of
from graph.schema.permissions import Right

T = TypeVar("T")

BULK_MAX = 100

# The description of each code, the same for all mutations.
CODES = {
    "EMAIL_TAKEN": "Another user has this email address.",
    "USERNAME_TAKEN": "Another user has this username.",
    "INVALID_EMAIL": "The email address is not valid.",
    "INVALID_USERNAME": f"The username is reserved, or is not {USERNAME.limit}.",
    "INVALID_PASSWORD": "The password is too short, too long, or easy to guess.",
    "INVALID_PROFILE": "A field of the profile is too long, or `websiteUrl` is not an http or https URL.",
    "NOT_FOUND": "The object does not exist, or the viewer may not change it.",
    "VERSION_CONFLICT": "The object has changed since `expectedVersion` was read.",
    "USER_OWNS_ACCOUNTS": (
        "The user owns an account. The ledger never loses rows, so accounts and their owners cannot be deleted."
    ),
    "AUTHOR_NOT_FOUND": "The author does not exist, or the viewer may not write in their name.",
    "INVALID_TITLE": f"The title has no visible character, or more than {TITLE.length_max:,} characters.",
    "INVALID_BODY": f"The body has no visible character, or more than {BODY.length_max:,} characters.",
    "INVALID_CONTENT": f"The content has more than {CONTENT.length_max:,} characters.",
    "UNKNOWN_CURRENCY": "The currency is not one of ISO 4217 with a minor unit.",
    "TOO_MANY_ACCOUNTS": "The user has the maximum number of accounts.",
    "ACCOUNT_NOT_FOUND": "The account does not exist, or the viewer may not use it.",
    "INVALID_AMOUNT": "The amount is not greater than zero, or has more fraction digits than the currency.",
    "BALANCE_LIMIT_EXCEEDED": "The balance of the receiving account would exceed the maximum.",
    "IDEMPOTENCY_KEY_REUSED": "The idempotency key was used before, for a different transfer or deposit.",
    "INVALID_MEMO": f"The memo has more than {MEMO.length_max:,} characters.",
    "SAME_ACCOUNT": "Both accounts are the same.",
    "CURRENCY_MISMATCH": "The accounts have different currencies.",
    "INSUFFICIENT_FUNDS": "The balance of the sending account is less than the amount.",
    "OTHER_TRANSFER_REFUSED": (
        "Another transfer of the list was refused. With the mode ALL, all transfers are made or none."
    ),
    "INVALID_CREDENTIALS": "No active user has this login and password.",
    "TOO_MANY_ATTEMPTS": "The password was wrong too often. Wait before the next attempt.",
    "INVALID_CURRENT_PASSWORD": "`currentPassword` is missing or wrong.",
    "INVALID_REFRESH_TOKEN": (
        "The refresh token is unknown, expired, or already used. Using a token twice ends its session."
    ),
}


class Refused(Exception):  # noqa: N818 - as Refusal
    """A write was refused for several reasons, and nothing was written."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("; ".join(map(str, refusals)))
        self.refusals = refusals


# ---------------------------------------------------------------- inputs


# The names of the fields of each input that `change` has declared.
_CHANGEABLE: dict[type, tuple[str, ...]] = {}


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
def mutation_input(cls: type[T]) -> type[T]:
    """Declare an input. Its docstring is its description."""
    made = strawberry.input(cls, description=_description(cls))
    declared: Any = made
    fields = dataclasses.fields(declared)
    _CHANGEABLE[made] = tuple(one.name for one in fields if one.default is strawberry.UNSET)
    return made


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
def bulk_input(cls: type[T]) -> type[T]:
    """Declare an input with a list; the maximum number of its items is added to the description."""
    cls.__doc__ = f"{cls.__doc__} At most {BULK_MAX}."
    return mutation_input(cls)


def change(description: str) -> Any:
    """Declare a field of an input that leaves the value as it is where the field is absent."""
    return strawberry.field(default=strawberry.UNSET, description=description)


def expected_version(noun: str) -> Any:
    """Declare the field `expectedVersion` of a change to a `noun`."""
    description = (
        f"The version that the client has read. If the {noun} has changed since, the mutation is refused with "
        "VERSION_CONFLICT. Without a version there is no such check."
    )
    return strawberry.field(default=None, description=description)


def changes_of(input_: object, *, never_null: Collection[str] = ()) -> dict[str, Any]:
    """Return the values of all given fields that `change` has declared, including nulls, by their names in Python.

    Raises:
        BadInput: one of the fields `never_null` is null. It has no texts: their specification refuses null.
    """
    names = _CHANGEABLE[type(input_)]
    changes = {name: value for name in names if (value := getattr(input_, name)) is not strawberry.UNSET}
    for name in never_null:
        if changes.get(name, name) is None:
            raise BadInput(f"input.{_in_graphql(name)} cannot be null; leave it out to keep it")
    return changes


def _in_graphql(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


@dataclass(frozen=True, slots=True)
class Items:
    """The place of an input's items: the list `name`; without a name the input itself is the only item."""

    name: str | None = None

    def path(self, index: int) -> tuple[str, ...]:
        """Return the path of an item below the mutation's `input`."""
        return () if self.name is None else (self.name, str(index))

    def where(self, index: int) -> str:
        """Return the place of an item, for the message about a malformed argument."""
        return "input" if self.name is None else f"input.{self.name}[{index}]"

    def refusal_of_any(self, refusal: Refusal, count: int) -> Refusal:
        """Return the refusal of one statement for all `count` items. It does not name the refused item."""
        if count == 1:
            return refusal.below(*self.path(0))
        return Refusal(refusal.code, () if self.name is None else (self.name,), refusal.message)


ALONE = Items()


def bulk_size_checked(items: list[Any], where: str, maximum: int = BULK_MAX) -> None:
    """Raise BadInput where a bulk input is empty or too long."""
    if not 1 <= len(items) <= maximum:
        raise BadInput(f"{where} should have 1 to {maximum} items, not {len(items)}")


# ---------------------------------------------------------------- payloads


@dataclass(frozen=True, slots=True)
class _Declared:
    """The declarations of a payload. Without codes it has no error type and no enum of codes."""

    right: Right
    error_type: Any = None
    codes: Any = None


_DECLARED: dict[Any, _Declared] = {}


def answer(description: str, *, default: Any = None, directives: Sequence[object] = ()) -> Any:
    """Declare a field of a payload; `default` is its value if the mutation is refused."""
    if isinstance(default, list):
        return strawberry.field(default_factory=list, description=description, directives=directives)
    return strawberry.field(default=default, description=description, directives=directives)


@dataclass_transform(kw_only_default=True, field_specifiers=(strawberry.field,))
def payload(
    *,
    right: Right | None = None,
    refused: str = "",
    codes: Sequence[str] = (),
    errors_as: type | None = None,
    errors: str = "The reasons why the mutation was refused. Empty if it was not.",
) -> Callable[[type[T]], type[T]]:
    """Declare the payload of a mutation, called `ThingPayload`, and with it `ThingErrorCode` and `ThingUserError`.

    Args:
        right: who may run the mutation.
        refused: the description of the error type and of the enum.
        codes: the error codes of the mutation; empty if it is never refused.
        errors_as: another payload, whose error type this one shares.
        errors: the description of the field `userErrors`.

    Raises:
        LookupError: the right is missing, or a code has no description.
    """

    def declare(cls: type[T]) -> type[T]:
        if right is None:
            raise LookupError(
                f"the mutation of {cls.__name__} has no right: declare it by @payload(right=…), with a right of "
                "graph/schema/permissions.py, for example right=OWNER_OR_ADMIN"
            )
        if errors_as is not None:
            shared = _DECLARED[errors_as]
            declared = _Declared(right, shared.error_type, shared.codes)
        else:
            declared = _with_errors(right, cls, refused, codes) if codes else _Declared(right)
        if declared.error_type is not None:
            cls.__annotations__["user_errors"] = GenericAlias(list, (declared.error_type,))
            field = strawberry.field(default_factory=list, description=errors, directives=[FREE])
            setattr(cls, "user_errors", field)  # noqa: B010 - which no class declares
        made = strawberry.type(cls, description=_description(cls))
        _DECLARED[made] = declared
        return made

    return declare


def _description(cls: type) -> str:
    return " ".join(inspect.cleandoc(cls.__doc__ or "").split())


def _with_errors(right: Right, cls: type, refused: str, codes: Sequence[str]) -> _Declared:
    mutation_name = cls.__name__.removesuffix("Payload")
    make: Callable[..., Any] = Enum
    enum: Any = make(f"{mutation_name}ErrorCode", {name: code(name) for name in codes}, module=cls.__module__)
    enum = strawberry.enum(enum, description=refused)
    members = {
        "__module__": cls.__module__,
        "__doc__": refused,
        "__annotations__": {"code": enum},
        "code": strawberry.field(description="The kind of refusal, for programs."),
    }
    error_type = strawberry.type(type(f"{mutation_name}UserError", (UserError,), members), description=refused)
    return _Declared(right, error_type, enum)


def code(name: str) -> Any:
    """Return the enum value of the error code `name`, with its one description.

    Raises:
        LookupError: the code has no description yet.
    """
    if name not in CODES:
        raise LookupError(f"say what {name} means in CODES of graph/schema/mutation_kit.py")
    return strawberry.enum_value(name, description=CODES[name])


def with_errors(answered: T, refusals: Sequence[Refusal]) -> T:
    """Return a payload with an entry of `userErrors` for each of `refusals`.

    Raises:
        KeyError: the mutation's enum does not have the code of a refusal: a bug in Folio.
    """
    declared, changed = _DECLARED[type(answered)], answered
    errors = [
        declared.error_type(field=path_of(refusal), message=refusal.message, code=declared.codes[refusal.code])
        for refusal in refusals
    ]
    setattr(changed, "user_errors", errors)  # noqa: B010 - which no class declares
    return changed


# ---------------------------------------------------------------- mutations


RIGHT = "right"
"""The key of a mutation's right in the metadata of its field."""


def _guarded(resolve: Callable[..., Awaitable[T]], make_payload: Callable[[], T], right: Right) -> Callable[..., Any]:
    """Return a resolver that refuses callers without the right, and returns refusals as data."""

    @wraps(resolve)
    async def guarded(info: Info, **given: Any) -> T:
        right.ensure(info.context.viewer)
        try:
            return await resolve(info, **given)
        # No variable keeps the refusal: its traceback holds this frame, and a variable would close the cycle.
        except Refusal as refusal:
            return with_errors(make_payload(), [refusal])
        except Refused as refused:
            return with_errors(make_payload(), refused.refusals)

    return guarded


def mutation(resolve: Callable[..., Awaitable[Any]], description: str, *directives: object, takes: str = "") -> Any:
    """Declare a mutation field of a resolver whose payload is declared by `payload`.

    Its right is checked before the resolver runs: Unauthenticated, or an error with the code FORBIDDEN.

    Args:
        resolve: takes the info and, mostly, the input as `input_`.
        description: of the field.
        directives: its price, for one; by default that of a write.
        takes: the description of the argument `input`.

    Raises:
        LookupError: what the resolver returns was not declared by `payload`.
    """
    annotations = resolve.__annotations__
    declared = _DECLARED.get(annotations.get("return"))
    if declared is None:
        raise LookupError(
            f"declare what {resolve.__name__} returns by @payload(right=…) of graph/schema/mutation_kit.py"
        )
    if takes:
        argument = strawberry.argument(name="input", description=takes)
        annotated: Any = Annotated
        annotations["input_"] = annotated[annotations["input_"], argument]
    return strawberry.mutation(
        resolver=_guarded(resolve, annotations["return"], declared.right),
        description=description,
        directives=directives or [WRITE],
        metadata={RIGHT: declared.right},
    )
