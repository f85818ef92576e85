"""The audit computes the digest of a request from a row of the ledger; it equals the digest stored with the key."""

import uuid
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text

from db.connections.database import Database
from db.connections.statements import Statement
from db.ledger.audit_statements import EXPONENT, REQUEST_HASH
from db.ledger.settlement import Movement
from db.money import BALANCE_MINOR_MAX, currencies_by_exponent, from_minor

CURRENCIES = sorted(code for codes in currencies_by_exponent().values() for code in codes)
COMPUTED = Statement(
    text(
        f"""
        SELECT {REQUEST_HASH} AS hash FROM (
            SELECT looked_at.*, {EXPONENT} AS exponent
              FROM (SELECT CAST(:operation AS text) AS operation, CAST(:from_id AS bigint) AS from_id,
                           CAST(:to_id AS bigint) AS to_id, CAST(:amount AS bigint) AS amount,
                           CAST(:memo AS text) AS memo) AS looked_at,
                   (SELECT CAST(:currency_code AS text) AS currency_code) AS source
        ) AS made
        """  # noqa: S608 - constants
    )
)
# The texts that PostgreSQL can store.
MEMO = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
AMOUNT = st.integers(1, BALANCE_MINOR_MAX) | st.builds(
    lambda n, zeros: n * 10**zeros, st.integers(1, 99), st.integers(0, 13)
)


async def computed(database: Database, movement: Movement, currency_code: str, amount: int) -> bytes:
    values = {
        "operation": movement.operation,
        "from_id": movement.from_id or 1,  # the row of a deposit has a source account, which the request does not name
        "to_id": movement.to_id,
        "amount": amount,
        "memo": movement.memo,
        "currency_code": currency_code,
    }
    [row] = await database.fetch(COMPUTED, values)
    digest: bytes = row["hash"]
    return digest


@given(
    from_id=st.none() | st.integers(1, 2**63 - 1),
    to_id=st.integers(1, 2**63 - 1),
    amount=AMOUNT,
    currency_code=st.sampled_from(CURRENCIES),
    memo=MEMO,
)
@example(from_id=1, to_id=2, amount=1, currency_code="CLF", memo='"\\/\b\f\n\r\t\x1f\x7f\u2028é😀')
@example(from_id=1, to_id=2, amount=BALANCE_MINOR_MAX, currency_code="JPY", memo="")
@hypothesis_settings(max_examples=200)
async def test_digest_of_a_row_is_that_of_its_request(
    database: Database, from_id: int | None, to_id: int, amount: int, currency_code: str, memo: str | None
) -> None:
    movement = Movement(from_id, to_id, from_minor(amount, currency_code), memo, uuid.UUID(int=0))
    assert await computed(database, movement, currency_code, amount) == movement.request_hash()


@pytest.mark.parametrize("written", ["100", "100.0", "100.00", "1E2", "1e+2", "0100"])
async def test_digest_is_that_of_however_the_amount_was_written(database: Database, written: str) -> None:
    movement = Movement(1, 2, Decimal(written), None, uuid.UUID(int=0))
    assert await computed(database, movement, "EUR", 10_000) == movement.request_hash()
