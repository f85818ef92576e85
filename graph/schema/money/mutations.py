"""The mutations that open accounts and move money: inputs, payloads and resolvers."""

import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

import strawberry

from db.fields import MEMO
from db.ledger.settlement import Movement, Settlement, settle
from db.repositories import accounts as repository
from graph.runtime.context import Info, columns_below
from graph.schema.ids import NodeKind, parse
from graph.schema.money.types import Account, Transaction
from graph.schema.mutation_kit import answer, mutation, mutation_input, payload, with_errors
from graph.schema.permissions import ADMIN_BY_ROW, OWNER, SIGNED_IN
from graph.schema.scalars import CurrencyCode

P = TypeVar("P")


REPLAYED = "True if an earlier request with this key has been settled. The result is that of the earlier request."
TRANSFER_REFUSALS = (
    "ACCOUNT_NOT_FOUND",
    "SAME_ACCOUNT",
    "CURRENCY_MISMATCH",
    "INVALID_AMOUNT",
    "INSUFFICIENT_FUNDS",
    "BALANCE_LIMIT_EXCEEDED",
    "IDEMPOTENCY_KEY_REUSED",
    MEMO.code,
)


@mutation_input
class OpenAccountInput:
    """An account to open."""

    currency_code: CurrencyCode = strawberry.field(description="The currency of the account.")


@payload(right=SIGNED_IN, refused="Why an account was refused.", codes=("UNKNOWN_CURRENCY", "TOO_MANY_ACCOUNTS"))
class OpenAccountPayload:
    """The new account, or the reasons why it was refused."""

    account: Account | None = answer("The new account, empty.")


def idempotency_key(movement: str) -> Any:
    """Declare the field `idempotencyKey` of the input of a `movement` of money."""
    return strawberry.field(
        description=(
            f"A UUID that the client makes once for each intended {movement}, and sends unchanged on every retry."
        )
    )


@mutation_input
class DepositInput:
    """A deposit of money from outside, through the system account of its currency. Only administrators may make one."""

    account_id: strawberry.ID = strawberry.field(description="The receiving account.")
    amount: Decimal = strawberry.field(
        description="The amount, in the currency of the account. It must be greater than zero."
    )
    memo: str | None = strawberry.field(default=None, description=MEMO.description)
    idempotency_key: uuid.UUID = idempotency_key("deposit")


@payload(
    right=ADMIN_BY_ROW,
    refused="Why a deposit was refused.",
    codes=(
        "ACCOUNT_NOT_FOUND",
        "INVALID_AMOUNT",
        "BALANCE_LIMIT_EXCEEDED",
        "IDEMPOTENCY_KEY_REUSED",
        MEMO.code,
    ),
)
class DepositPayload:
    """The deposit, or the reasons why it was refused."""

    transaction: Transaction | None = answer("The transaction in the ledger.")
    replayed: bool = answer(REPLAYED, default=False)


@mutation_input
class TransferInput:
    """A transfer between two accounts of the same currency."""

    from_account_id: strawberry.ID = strawberry.field(
        description="The sending account. It must belong to the viewer, unless the viewer is an administrator."
    )
    to_account_id: strawberry.ID = strawberry.field(description="The receiving account. It may belong to any user.")
    amount: Decimal = strawberry.field(
        description="The amount, in the currency of both accounts. It must be greater than zero."
    )
    memo: str | None = strawberry.field(default=None, description=MEMO.description)
    idempotency_key: uuid.UUID = idempotency_key("transfer")


@payload(right=OWNER, refused="Why a transfer was refused.", codes=TRANSFER_REFUSALS)
class TransferPayload:
    """The transfer, or the reasons why it was refused."""

    transaction: Transaction | None = answer("The transaction in the ledger.")
    replayed: bool = answer(REPLAYED, default=False)


# ---------------------------------------------------------------- resolvers


async def open_account(info: Info, input_: OpenAccountInput) -> OpenAccountPayload:
    """Open an empty account that belongs to the viewer."""
    context, columns = info.context, columns_below(info, "Account", "id")
    accounts_max = context.services.settings.accounts_per_user_max
    owner = context.viewer.user_id or 0
    async with context.turn([("user", owner, owner)]):
        row = await context.write(
            lambda transaction: repository.open_account(
                transaction, context.viewer, columns, input_.currency_code, accounts_max=accounts_max
            )
        )
    return OpenAccountPayload(account=Account(row=row))


async def deposit(info: Info, input_: DepositInput) -> DepositPayload:
    """Deposit money from outside."""
    movement = Movement(
        from_id=None,
        to_id=parse(input_.account_id, NodeKind.ACCOUNT, "input.accountId"),
        amount=input_.amount,
        memo=input_.memo,
        key=input_.idempotency_key,
    )
    columns = columns_below(info, "Transaction", "id")
    return _answered(DepositPayload, await settle(info.context, info.context.viewer, columns, movement))


async def transfer(info: Info, input_: TransferInput) -> TransferPayload:
    """Move money between two accounts."""
    columns = columns_below(info, "Transaction", "id")
    movement = movement_of(input_, "input", uuid.uuid4())
    return _answered(TransferPayload, await info.context.transfer(columns, movement))


def movement_of(one: TransferInput, where: str, claim_id: uuid.UUID | None = None) -> Movement:
    """Return the movement of a transfer input. `where` is the input's place, for the error of a malformed id."""
    return Movement(
        from_id=parse(one.from_account_id, NodeKind.ACCOUNT, f"{where}.fromAccountId"),
        to_id=parse(one.to_account_id, NodeKind.ACCOUNT, f"{where}.toAccountId"),
        amount=one.amount,
        memo=one.memo,
        key=one.idempotency_key,
        claim_id=claim_id,
    )


def _answered(answer_type: Callable[..., P], settlement: Settlement) -> P:
    if settlement.row is not None:
        return answer_type(transaction=Transaction(row=settlement.row), replayed=settlement.replayed)
    # A settlement without a row has a refusal.
    refusals = [settlement.refusal] if settlement.refusal else []
    return with_errors(answer_type(replayed=settlement.replayed), refusals)


@strawberry.type
class MoneyMutations:
    """The mutations of accounts and the ledger."""

    open_account: OpenAccountPayload = mutation(
        open_account, "Opens an empty account that belongs to the viewer.", takes="The account."
    )
    deposit: DepositPayload = mutation(
        deposit,
        (
            "Deposits money from outside. Only administrators may do this. Like a transfer, it happens once "
            "for each idempotency key."
        ),
        takes="The deposit.",
    )
    transfer: TransferPayload = mutation(
        transfer,
        (
            "Moves money from an account of the viewer to any other account. Both balances change, or "
            "neither, and no balance becomes negative. A transfer happens at most once for its "
            "`idempotencyKey`, without a time limit. A repeated request with the same key returns the first "
            "outcome, which may be a refusal. A different transfer with the same key is refused. The response "
            "is sent after the transfer has been written to disk. After an error with `outcomeUnknown` the "
            "transfer may or may not have happened: send it again with the same key."
        ),
        takes="The transfer.",
    )
