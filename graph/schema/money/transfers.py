"""Many transfers in one mutation, in the schema: inputs, payloads and the resolver."""

from enum import Enum
from typing import Annotated

import strawberry

from db.ledger.batches import BATCH_MAX, settle_batch
from db.ledger.settlement import Movement
from graph.analysis.cost import WRITE, Cost, ListSize
from graph.runtime.context import Info, columns_below
from graph.schema.ids import NodeKind, parse
from graph.schema.money.mutations import TransferInput
from graph.schema.money.types import Transaction
from graph.schema.mutation_kit import bulk_size_checked, code, errors_field, mutation, user_errors
from graph.schema.nodes import UserError

TRANSFERS = "transfers"
RESULTS = ListSize(
    assumed_size=BATCH_MAX,
    slicing_arguments=[f"input.{TRANSFERS}"],
    sized_fields=["results", "userErrors"],
    require_one_slicing_argument=False,
)
# Each locks and writes rows of its own; what there is but once, as the commit, they share.
ROWS = Cost(weight="4")


@strawberry.enum(description="What a refusal of one transfer means to the others of its list.")
class TransferMode(Enum):
    """How the transfers of a list hang together."""

    EACH = strawberry.enum_value("EACH", description="Nothing: each transfer is made or refused on its own.")
    ALL = strawberry.enum_value("ALL", description="None is made: all of them are, or none.")


@strawberry.input(description="Transfers in the order in which they are made, and what a refusal of one of them means.")
class TransfersInput:
    """Many transfers."""

    transfers: list[TransferInput] = strawberry.field(
        description="1 to 1,000 transfers, each with an idempotency key of its own."
    )
    mode: TransferMode = strawberry.field(
        description=(
            "What a refusal means to the others. With EACH, a key is worth the same as one of `transfer`: either "
            "mutation finds the outcome of the other. With ALL, a key stands for its transfer within this very list: "
            "on a retry send the whole list again, unchanged. Where such a list is refused, all of its keys are spent."
        )
    )


@strawberry.enum(description="Why a transfer of a list was refused.")
class TransfersErrorCode(Enum):
    """The codes of transfers."""

    ACCOUNT_NOT_FOUND = code("ACCOUNT_NOT_FOUND")
    SAME_ACCOUNT = code("SAME_ACCOUNT")
    CURRENCY_MISMATCH = code("CURRENCY_MISMATCH")
    INVALID_AMOUNT = code("INVALID_AMOUNT")
    INSUFFICIENT_FUNDS = code("INSUFFICIENT_FUNDS")
    BALANCE_LIMIT_EXCEEDED = code("BALANCE_LIMIT_EXCEEDED")
    IDEMPOTENCY_KEY_REUSED = code("IDEMPOTENCY_KEY_REUSED")
    INVALID_MEMO = code("INVALID_MEMO")
    OTHER_TRANSFER_REFUSED = code("OTHER_TRANSFER_REFUSED")


@strawberry.type(description="Why a transfer of a list was refused.")
class TransfersUserError(UserError):
    """An error of transfers."""

    code: TransfersErrorCode = strawberry.field(description="What is wrong, for programs.")


@strawberry.type(description="What became of one transfer of a list.")
class TransferResult:
    """One transfer's part of the payload."""

    transaction: Transaction | None = strawberry.field(
        default=None, description="The row of the ledger; null where the transfer was refused."
    )
    replayed: bool = strawberry.field(
        default=False,
        description="True where this key had already been settled and its first result is given again.",
    )


@strawberry.type(description="What became of each transfer.")
class TransfersPayload:
    """The payload of transfers."""

    results: list[TransferResult] = strawberry.field(
        default_factory=list, description="One for each transfer, in the order of the input.", directives=[ROWS]
    )
    user_errors: list[TransfersUserError] = errors_field(
        "Why transfers were refused, in the order of the input; the path says which, for example "
        '["input", "transfers", "3", "amount"].'
    )


async def transfers(
    info: Info, input_: Annotated[TransfersInput, strawberry.argument(name="input", description="The transfers.")]
) -> TransfersPayload:
    """Move money many times."""
    bulk_size_checked(input_.transfers, "input.transfers", BATCH_MAX)
    movements = [_movement(one, f"input.transfers[{index}]") for index, one in enumerate(input_.transfers)]
    settlements = await settle_batch(
        info.context,
        info.context.viewer,
        columns_below(info, "Transaction", "id"),
        movements,
        is_one=input_.mode is TransferMode.ALL,
    )
    refusals = [
        settlement.refusal.below(TRANSFERS, str(index))
        for index, settlement in enumerate(settlements)
        if settlement.refusal is not None
    ]
    results = [
        TransferResult(transaction=None if one.row is None else Transaction(row=one.row), replayed=one.replayed)
        for one in settlements
    ]
    return TransfersPayload(results=results, user_errors=user_errors(TransfersUserError, TransfersErrorCode, refusals))


def _movement(one: TransferInput, where: str) -> Movement:
    return Movement(
        from_id=parse(one.from_account_id, NodeKind.ACCOUNT, f"{where}.fromAccountId"),
        to_id=parse(one.to_account_id, NodeKind.ACCOUNT, f"{where}.toAccountId"),
        amount=one.amount,
        memo=one.memo,
        key=one.idempotency_key,
    )


@strawberry.type
class TransferMutations:
    """The mutation of many transfers."""

    transfers: TransfersPayload = mutation(
        transfers,
        "Moves money many times, each time from an account of the viewer's own to any other. All of it is one "
        "transaction of the database, and takes a small part of the time that as many single transfers would. What is "
        "promised of `transfer` is promised of each.",
        WRITE,
        RESULTS,
    )
