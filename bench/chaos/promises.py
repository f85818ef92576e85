"""Which promise of docs/MONEY.md each kind of violation breaks."""

from collections.abc import Mapping
from types import MappingProxyType

TITLES: Mapping[int, str] = MappingProxyType(
    {
        1: "Conservation",
        2: "Both legs or neither",
        3: "No overdraft",
        4: "Exactly once",
        5: "Key reuse is refused, and keys are private",
        6: "A refusal stays a refusal",
        7: "Acknowledged means durable",
        8: "A lost answer can be settled",
        9: "No deadlock",
        10: "Bounded",
        11: "Amounts are exact",
        12: "The ledger is append-only",
        13: "A statement adds up",
    }
)
BROKEN_BY: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "a read has a wrong sum": (1,),
        "the audit finds differences": (1, 2, 12),
        "a part of an all-or-none list was made": (2,),
        "an account was overdrawn": (3,),
        "two answers to one key differ": (4,),
        "a replay is another transfer": (4,),
        "a key has two rows": (4,),
        "a key is used without an outcome": (4,),
        "a key was taken for two movements": (5,),
        "a key reveals something to another user": (5,),
        "a refusal became a transfer": (6,),
        "a refused movement is in the ledger": (6,),
        "an acknowledged refusal is not kept": (6, 7, 8),
        "an acknowledged movement is not in the ledger": (7, 8),
        "a transfer had happened, although its error had no outcomeUnknown": (8,),
        "a transfer cannot be settled": (8,),
        "a deadlock": (9,),
        "no answer in time": (10,),
        "connection ended without an answer": (10,),
        "slow after all is quiet": (10,),
        "errors after all is quiet": (10,),
        "a worker holds on to something": (10,),
        "the database's connections are not as they should be": (10,),
        "a wrong answer to a transfer": (11,),
        "a row of the ledger differs from the journal": (11, 12),
        "rows without a request": (12,),
        "a statement does not add up": (1, 13),
    }
)


def broken_by(kind: str) -> str:
    """Return the promises that a kind of violation breaks, as text for a report."""
    numbers = BROKEN_BY.get(kind, ())
    return (
        "; ".join(f"promise {number}, {TITLES[number]}" for number in numbers) or "no promise, and wrong all the same"
    )
