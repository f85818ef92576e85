"""What the server behind the pool says of itself."""

from dataclasses import dataclass

from sqlalchemy import text

from db.connections.statements import Reader, Statement

# A standby is in recovery; an operator, or a provider whose disk is full, makes all transactions read only.
_TAKES_WRITES = Statement(text("SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"))


async def takes_writes(reader: Reader) -> bool:
    """Say whether the database takes writes, over a connection that `reader` has chosen.

    Raises:
        Unavailable: the database does not answer.
    """
    return bool((await reader.fetch(_TAKES_WRITES, {}))[0][0])


# As a session of the pool has it: a role or a database may have settings of its own. `local`, `remote_write` and the
# like wait for the disk of this server at least. Of a database whose data is of no value its operator may say so.
_DURABILITY = Statement(
    text(
        """
        SELECT array(SELECT name FROM unnest(ARRAY['fsync', 'full_page_writes', 'synchronous_commit']) AS name
                      WHERE current_setting(name) = 'off') AS off,
               coalesce(current_setting('folio.throwaway', true), '') IN ('on', 'true', 'yes', '1') AS is_throwaway
        """
    )
)


@dataclass(frozen=True, slots=True)
class Durability:
    """Whether what the database has acknowledged survives a crash.

    Attributes:
        off: the settings that are off and would have to be on.
        is_throwaway: whether its operator says that its data is of no value.
    """

    off: tuple[str, ...]
    is_throwaway: bool

    @property
    def problem(self) -> str | None:
        """Return what is wrong, in words; None where all is on."""
        if not self.off:
            return None
        names = " and ".join(filter(None, (", ".join(self.off[:-1]), self.off[-1])))
        verb = "is" if len(self.off) == 1 else "are"
        return f"the database may lose in a crash what it has acknowledged: {names} {verb} off"


async def durability(reader: Reader) -> Durability:
    """Return what the database promises of what it acknowledges.

    Raises:
        Unavailable: the database does not answer.
    """
    off, is_throwaway = (await reader.fetch(_DURABILITY, {}))[0]
    return Durability(tuple(off), is_throwaway)
