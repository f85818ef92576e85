"""What every mutation shares: how it is declared, and how a refusal becomes an entry of `userErrors`."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.types.field import StrawberryField

from db.errors import Refusal
from graph.analysis.cost import FREE, WRITE
from graph.errors import BadInput
from graph.schema.nodes import path_of
from graph.schema.permissions import PUBLIC_MUTATIONS, signed_in

BULK_MAX = 100

# One meaning for a code, whichever mutation answers it.
CODES = {
    "EMAIL_TAKEN": "Another user has this email address.",
    "USERNAME_TAKEN": "Another user has this username.",
    "INVALID_EMAIL": "Not an email address that can be used.",
    "INVALID_USERNAME": "Not 3 to 32 letters, digits and _, beginning with a letter, or a reserved name.",
    "INVALID_PASSWORD": "Too short, too long, or easily guessed.",
    "INVALID_PROFILE": "A part of the profile is too long, or no http URL.",
    "NOT_FOUND": "There is no such object, or the viewer may not change it.",
    "VERSION_CONFLICT": "It has changed since `expectedVersion` was read.",
    "USER_OWNS_ACCOUNTS": "The user owns an account, and the ledger is never cut.",
    "AUTHOR_NOT_FOUND": "There is no such user, or the viewer may not write as them.",
    "INVALID_TITLE": "Without a visible character, or longer than 200 characters.",
    "INVALID_CONTENT": "Longer than 100,000 characters.",
    "UNKNOWN_CURRENCY": "Not a currency of ISO 4217 that has a minor unit.",
    "TOO_MANY_ACCOUNTS": "The user has as many accounts as a user may have.",
    "ACCOUNT_NOT_FOUND": "There is no such account, or the viewer may not use it.",
    "INVALID_AMOUNT": "Not greater than zero, or with more fraction digits than the currency has.",
    "BALANCE_LIMIT_EXCEEDED": "The receiving account would hold more than an account may.",
    "IDEMPOTENCY_KEY_REUSED": "The key was given to another movement of money.",
    "INVALID_MEMO": "Longer than 500 characters.",
    "SAME_ACCOUNT": "Both accounts are the same.",
    "CURRENCY_MISMATCH": "The accounts hold different currencies.",
    "INSUFFICIENT_FUNDS": "The account holds less than the amount.",
    "OTHER_TRANSFER_REFUSED": "Another transfer of the list was refused, and all are made or none.",
    "INVALID_CREDENTIALS": "No active user has this login with this password.",
    "TOO_MANY_ATTEMPTS": "The password was wrong too often; wait before the next attempt.",
    "INVALID_CURRENT_PASSWORD": "Missing, or not the user's password.",
    "INVALID_REFRESH_TOKEN": "Unknown, expired or used before; used twice, it ends the session.",
}

E_ = TypeVar("E_")


class SignedInOnly(FieldExtension):
    """Refuses anonymous callers before the resolver runs, unless the mutation is in `PUBLIC_MUTATIONS`."""

    def apply(self, field: StrawberryField) -> None:
        """Remember nothing: the field's name is known only when it runs."""

    async def resolve_async(
        self, next_: Callable[..., Awaitable[Any]], source: Any, info: strawberry.Info, **kwargs: Any
    ) -> Any:
        """Run the mutation, or raise Unauthenticated."""
        if info.field_name not in PUBLIC_MUTATIONS:
            signed_in(info.context.viewer)
        return await next_(source, info, **kwargs)


def mutation(resolve: Callable[..., Awaitable[Any]], description: str, *directives: object) -> Any:
    """Declare a mutation field. Without sign-in it is refused, unless it is one of the public ones."""
    return strawberry.mutation(
        resolver=resolve, description=description, extensions=[SignedInOnly()], directives=directives or [WRITE]
    )


def code(name: str) -> Any:
    """Return the enum value of the error code `name`, with its one description.

    Raises:
        LookupError: the code has no description yet.
    """
    if name not in CODES:
        raise LookupError(f"say what {name} means in CODES of graph/schema/mutation_kit.py")
    return strawberry.enum_value(name, description=CODES[name])


def errors_field(description: str = "Why it was refused.") -> Any:
    """Declare a payload's `userErrors`."""
    return strawberry.field(default_factory=list, description=description, directives=[FREE])


def user_errors(error_type: Callable[..., E_], codes: Any, refusals: list[Refusal]) -> list[E_]:
    """Return the payload's errors for `refusals`, in the mutation's own types.

    Raises:
        KeyError: a code that the mutation's enum does not have, a fault of ours.
    """
    return [
        error_type(field=path_of(refusal), message=refusal.message, code=codes[refusal.code]) for refusal in refusals
    ]


def bulk_size_checked(items: list[Any], where: str, maximum: int = BULK_MAX) -> None:
    """Raise BadInput where a bulk input is empty or too long."""
    if not 1 <= len(items) <= maximum:
        raise BadInput(f"{where} should have 1 to {maximum} items, not {len(items)}")
