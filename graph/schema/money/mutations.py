"""What opens accounts and moves money, in the schema: inputs, payloads and resolvers."""

import uuid
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, TypeVar

import strawberry

from db.errors import Refusal
from db.ledger.settlement import Movement, settle
from db.repositories import accounts as repository
from graph.runtime.context import Info, columns_below
from graph.schema.ids import NodeKind, parse
from graph.schema.money.types import Account, Transaction
from graph.schema.mutation_kit import code, errors_field, mutation, user_errors
from graph.schema.nodes import UserError
from graph.schema.scalars import CurrencyCode

P = TypeVar("P")


@strawberry.input(description="An account to open.")
class OpenAccountInput:
    """A new account."""

    currency_code: CurrencyCode = strawberry.field(description="The one currency that it will hold.")


@strawberry.enum(description="Why an account was refused.")
class OpenAccountErrorCode(Enum):
    """The codes of openAccount."""

    UNKNOWN_CURRENCY = code("UNKNOWN_CURRENCY")
    TOO_MANY_ACCOUNTS = code("TOO_MANY_ACCOUNTS")


@strawberry.type(description="Why an account was refused.")
class OpenAccountUserError(UserError):
    """An error of openAccount."""

    code: OpenAccountErrorCode = strawberry.field(description="What is wrong, for programs.")


@strawberry.type(description="The new account, or why there is none.")
class OpenAccountPayload:
    """The payload of openAccount."""

    account: Account | None = strawberry.field(default=None, description="The new account, empty.")
    user_errors: list[OpenAccountUserError] = errors_field()


@strawberry.input(
    description="Money enters from outside, through the system account of its currency. Administrators only."
)
class DepositInput:
    """A deposit."""

    account_id: strawberry.ID = strawberry.field(description="The account that receives it.")
    amount: Decimal = strawberry.field(description="In the currency of the account, greater than zero.")
    memo: str | None = strawberry.field(default=None, description="What for; at most 500 characters.")
    idempotency_key: uuid.UUID = strawberry.field(
        description="Made by the client, once for each intended deposit, and sent again unchanged on every retry."
    )


@strawberry.enum(description="Why a deposit was refused.")
class DepositErrorCode(Enum):
    """The codes of deposit."""

    ACCOUNT_NOT_FOUND = code("ACCOUNT_NOT_FOUND")
    INVALID_AMOUNT = code("INVALID_AMOUNT")
    BALANCE_LIMIT_EXCEEDED = code("BALANCE_LIMIT_EXCEEDED")
    IDEMPOTENCY_KEY_REUSED = code("IDEMPOTENCY_KEY_REUSED")
    INVALID_MEMO = code("INVALID_MEMO")


@strawberry.type(description="Why a deposit was refused.")
class DepositUserError(UserError):
    """An error of deposit."""

    code: DepositErrorCode = strawberry.field(description="What is wrong, for programs.")


@strawberry.type(description="The deposit, or why there is none.")
class DepositPayload:
    """The payload of deposit."""

    transaction: Transaction | None = strawberry.field(default=None, description="The row of the ledger.")
    replayed: bool = strawberry.field(
        default=False,
        description="True where this key had already been settled and its first result is given again.",
    )
    user_errors: list[DepositUserError] = errors_field()


@strawberry.input(description="Money goes from one account to another of the same currency, both or neither.")
class TransferInput:
    """A transfer."""

    from_account_id: strawberry.ID = strawberry.field(description="An account of the viewer's own.")
    to_account_id: strawberry.ID = strawberry.field(description="Any account.")
    amount: Decimal = strawberry.field(description="In the currency of both accounts, greater than zero.")
    memo: str | None = strawberry.field(default=None, description="What for; at most 500 characters.")
    idempotency_key: uuid.UUID = strawberry.field(
        description="Made by the client, once for each intended transfer, and sent again unchanged on every retry."
    )


@strawberry.enum(description="Why a transfer was refused.")
class TransferErrorCode(Enum):
    """The codes of transfer."""

    ACCOUNT_NOT_FOUND = code("ACCOUNT_NOT_FOUND")
    SAME_ACCOUNT = code("SAME_ACCOUNT")
    CURRENCY_MISMATCH = code("CURRENCY_MISMATCH")
    INVALID_AMOUNT = code("INVALID_AMOUNT")
    INSUFFICIENT_FUNDS = code("INSUFFICIENT_FUNDS")
    BALANCE_LIMIT_EXCEEDED = code("BALANCE_LIMIT_EXCEEDED")
    IDEMPOTENCY_KEY_REUSED = code("IDEMPOTENCY_KEY_REUSED")
    INVALID_MEMO = code("INVALID_MEMO")


@strawberry.type(description="Why a transfer was refused.")
class TransferUserError(UserError):
    """An error of transfer."""

    code: TransferErrorCode = strawberry.field(description="What is wrong, for programs.")


@strawberry.type(description="The transfer, or why there is none.")
class TransferPayload:
    """The payload of transfer."""

    transaction: Transaction | None = strawberry.field(default=None, description="The row of the ledger.")
    replayed: bool = strawberry.field(
        default=False,
        description="True where this key had already been settled and its first result is given again.",
    )
    user_errors: list[TransferUserError] = errors_field()


# ---------------------------------------------------------------- resolvers


async def open_account(
    info: Info, input_: Annotated[OpenAccountInput, strawberry.argument(name="input", description="The account.")]
) -> OpenAccountPayload:
    """Open an empty account of the viewer's own."""
    context, columns = info.context, columns_below(info, "Account", "id")
    accounts_max = context.services.settings.accounts_per_user_max
    try:
        owner = context.viewer.user_id or 0
        async with context.turn([("user", owner, owner)]):
            row = await context.write(
                lambda transaction: repository.open_account(
                    transaction, context.viewer, columns, input_.currency_code, accounts_max=accounts_max
                )
            )
    except Refusal as refusal:
        return OpenAccountPayload(user_errors=user_errors(OpenAccountUserError, OpenAccountErrorCode, [refusal]))
    return OpenAccountPayload(account=Account(row=row))


async def deposit(
    info: Info, input_: Annotated[DepositInput, strawberry.argument(name="input", description="The deposit.")]
) -> DepositPayload:
    """Bring money in from outside."""
    movement = Movement(
        from_id=None,
        to_id=parse(input_.account_id, NodeKind.ACCOUNT, "input.accountId"),
        amount=input_.amount,
        memo=input_.memo,
        key=input_.idempotency_key,
    )
    return await _settled(info, movement, DepositPayload, DepositUserError, DepositErrorCode)


async def transfer(
    info: Info, input_: Annotated[TransferInput, strawberry.argument(name="input", description="The transfer.")]
) -> TransferPayload:
    """Move money between two accounts."""
    movement = Movement(
        from_id=parse(input_.from_account_id, NodeKind.ACCOUNT, "input.fromAccountId"),
        to_id=parse(input_.to_account_id, NodeKind.ACCOUNT, "input.toAccountId"),
        amount=input_.amount,
        memo=input_.memo,
        key=input_.idempotency_key,
    )
    return await _settled(info, movement, TransferPayload, TransferUserError, TransferErrorCode)


async def _settled(
    info: Info, movement: Movement, payload: Callable[..., P], error_type: Callable[..., Any], codes: type[Enum]
) -> P:
    context, columns = info.context, columns_below(info, "Transaction", "id")
    try:
        if movement.from_id is None:
            settlement = await settle(context, context.viewer, columns, movement)
        else:
            settlement = await context.transfer(columns, movement)
    except Refusal as refusal:
        return payload(user_errors=user_errors(error_type, codes, [refusal]))
    if settlement.row is None:
        # Without a row there is a refusal: either the one or the other became of the movement.
        refusals = [settlement.refusal] if settlement.refusal else []
        errors = user_errors(error_type, codes, refusals)
        return payload(replayed=settlement.replayed, user_errors=errors)
    return payload(transaction=Transaction(row=settlement.row), replayed=settlement.replayed)


@strawberry.type
class MoneyMutations:
    """The mutations of accounts and the ledger."""

    open_account: OpenAccountPayload = mutation(open_account, "Opens an empty account of the viewer's own.")
    deposit: DepositPayload = mutation(
        deposit,
        "Brings money in from outside; administrators only. Once for its key, as `transfer`.",
    )
    transfer: TransferPayload = mutation(
        transfer,
        "Moves money from an account of the viewer's own to any other: the one loses what the other gets, or nothing "
        "happens, and no account goes below zero. It happens once for its `idempotencyKey`, for ever: sent again with "
        "the same key, it is answered by its first outcome, be it a refusal; another transfer under the key is "
        "refused. What is answered is on disk. An error with `outcomeUnknown` leaves open whether it has happened: "
        "send it again with the same key.",
    )
