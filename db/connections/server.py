"""What the server behind the pool reports of itself: whether it accepts writes, and whether commits are durable."""

from dataclasses import dataclass

from sqlalchemy import text

from db.connections.statements import Reader, Statement

# A standby is in recovery. An operator, or a provider whose disk is full, makes all transactions read only.
_TAKES_WRITES = Statement(text("SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"))


async def takes_writes(reader: Reader) -> bool:
    """Return whether the database accepts writes, queried over a connection that `reader` chooses.

    Raises:
        Unavailable: the database does not answer.
    """
    return bool((await reader.fetch(_TAKES_WRITES, {}))[0][0])


# The values in a session of the pool, because a role or a database may have other settings. `local`,
# `remote_write` and similar values wait at least for the disk of this server. An operator may declare that the data has
# no value.
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
    """Whether acknowledged writes survive a crash of the database.

    Attributes:
        off: the settings that are off and must be on.
        is_throwaway: whether the operator has declared that the data has no value.
    """

    off: tuple[str, ...]
    is_throwaway: bool

    @property
    def problem(self) -> str | None:
        """Return a sentence that names the settings that are off, or None if all are on."""
        if not self.off:
            return None
        names = " and ".join(filter(None, (", ".join(self.off[:-1]), self.off[-1])))
        verb = "is" if len(self.off) == 1 else "are"
        return f"the database may lose in a crash what it has acknowledged: {names} {verb} off"


async def durability(reader: Reader) -> Durability:
    """Return whether the database keeps acknowledged writes after a crash.

    Raises:
        Unavailable: the database does not answer.
    """
    off, is_throwaway = (await reader.fetch(_DURABILITY, {}))[0]
    return Durability(tuple(off), is_throwaway)
