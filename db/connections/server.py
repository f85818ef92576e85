"""What the server behind the pool says of itself."""

from sqlalchemy import text

from db.statements import Reader, Statement

# A standby is in recovery; an operator, or a provider whose disk is full, makes all transactions read only.
_TAKES_WRITES = Statement(text("SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"))


async def takes_writes(reader: Reader) -> bool:
    """Say whether the database takes writes, over a connection that `reader` has chosen.

    Raises:
        Unavailable: the database does not answer.
    """
    return bool((await reader.fetch(_TAKES_WRITES, {}))[0][0])
