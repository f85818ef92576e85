"""The mutation of many transfers: inputs, payloads and the resolver."""

from enum import Enum

import strawberry

from db.ledger.batches import BATCH_MAX, settle_batch
from graph.analysis.cost import WRITE, Cost, ListSize
from graph.runtime.context import Info, columns_below
from graph.schema.money.mutations import REPLAYED, TRANSFER_REFUSALS, TransferInput, movement_of
from graph.schema.money.types import Transaction
from graph.schema.mutation_kit import Items, answer, bulk_size_checked, mutation, mutation_input, payload, with_errors
from graph.schema.permissions import OWNER

TRANSFERS = Items("transfers")
RESULTS = ListSize(
    assumed_size=BATCH_MAX,
    slicing_arguments=[f"input.{TRANSFERS.name}"],
    sized_fields=["results", "userErrors"],
    require_one_slicing_argument=False,
)
# The cost of one transfer: it locks and writes separate rows. All transfers share the work that is done once, such as
# the commit.
ROWS = Cost(weight="4")


@strawberry.enum(description="The effect of a refused transfer on the other transfers of its list.")
class TransferMode(Enum):
    """How the transfers of a list depend on each other."""

    EACH = strawberry.enum_value("EACH", description="Each transfer is made or refused separately.")
    ALL = strawberry.enum_value("ALL", description="All transfers are made, or none.")


@mutation_input
class TransfersInput:
    """Transfers, in the order in which they are made, and the effect of a refusal."""

    transfers: list[TransferInput] = strawberry.field(
        description=f"1 to {BATCH_MAX:,} transfers, each with a different idempotency key."
    )
    mode: TransferMode = strawberry.field(
        description=(
            "The effect of a refused transfer on the others. With EACH, `transfer` and `transfers` share "
            "their idempotency keys: each returns the outcome that the other has stored. With ALL, a key "
            "belongs to its transfer in exactly this list: on a retry, send the whole list again, unchanged. "
            "If such a list is refused, all of its keys are used up."
        )
    )


@strawberry.type(description="The outcome of one transfer of a list.")
class TransferResult:
    """One transfer's part of the payload."""

    transaction: Transaction | None = strawberry.field(
        default=None, description="The transaction in the ledger. Null if the transfer was refused."
    )
    replayed: bool = strawberry.field(default=False, description=REPLAYED)


@payload(
    right=OWNER,
    refused="Why a transfer of a list was refused.",
    codes=(*TRANSFER_REFUSALS, "OTHER_TRANSFER_REFUSED"),
    errors=(
        "The reasons why transfers were refused, in the order of the input. The path contains the index "
        'of the transfer, for example ["input", "transfers", "3", "amount"].'
    ),
)
class TransfersPayload:
    """The outcome of each transfer."""

    results: list[TransferResult] = answer(
        "One result for each transfer, in the order of the input.", default=[], directives=[ROWS]
    )


async def transfers(info: Info, input_: TransfersInput) -> TransfersPayload:
    """Move money many times."""
    bulk_size_checked(input_.transfers, "input.transfers", BATCH_MAX)
    movements = [movement_of(one, TRANSFERS.where(index)) for index, one in enumerate(input_.transfers)]
    settlements = await settle_batch(
        info.context,
        info.context.viewer,
        columns_below(info, "Transaction", "id"),
        movements,
        is_one=input_.mode is TransferMode.ALL,
    )
    refusals = [
        settlement.refusal.below(*TRANSFERS.path(index))
        for index, settlement in enumerate(settlements)
        if settlement.refusal is not None
    ]
    results = [
        TransferResult(transaction=None if one.row is None else Transaction(row=one.row), replayed=one.replayed)
        for one in settlements
    ]
    return with_errors(TransfersPayload(results=results), refusals)


@strawberry.type
class TransferMutations:
    """The mutation of many transfers."""

    transfers: TransfersPayload = mutation(
        transfers,
        (
            "Makes many transfers in one transaction of the database. This takes a small part of the time of "
            "as many single transfers. Each transfer has the same guarantees as `transfer`."
        ),
        WRITE,
        RESULTS,
        takes="The transfers.",
    )
