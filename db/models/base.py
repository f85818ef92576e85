"""The declarative base: one metadata, one naming convention, one Python type for each column type.

Constraint names are part of the interface: `db.constraints` maps each to the refusal that a client sees, so a name
never depends on what a database would choose.
"""

import datetime
import uuid
from collections.abc import Collection

from sqlalchemy import TIMESTAMP, BigInteger, Identity, MetaData, Text, Uuid, func, literal_column
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}

# The bounds of all instants that PostgreSQL stores; both are instants themselves.
FIRST_INSTANT = literal_column("'-infinity'::timestamptz", TIMESTAMP(timezone=True))
LAST_INSTANT = literal_column("'infinity'::timestamptz", TIMESTAMP(timezone=True))


class Model(DeclarativeBase):
    """The base of every mapped table."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads this plain mapping from the class
        datetime.datetime: TIMESTAMP(timezone=True),
        str: Text(),
        int: BigInteger(),
        uuid.UUID: Uuid(),
    }


def identity_column() -> Mapped[int]:
    """Return the primary key of every noun: a bigint that only the database assigns."""
    return mapped_column(Identity(always=True), primary_key=True)


def created_at_column() -> Mapped[datetime.datetime]:
    """Return an instant that the database sets at the insert.

    `clock_timestamp()`, not `now()`: rows of one transaction differ, and a transaction that waited for a lock
    does not carry the instant at which its wait began.
    """
    return mapped_column(server_default=func.clock_timestamp())


def stored_columns(model: type[Model], *, without: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names of the columns that a COPY gives values, in the table's order.

    Those of `without`, and those that the database computes, are left out.
    """
    return tuple(one.name for one in model.__table__.columns if one.computed is None and one.name not in without)
