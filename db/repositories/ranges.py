"""Filters by the time of creation, which lists have in common."""

import datetime
from collections.abc import Mapping

from sqlalchemy import TIMESTAMP, ColumnElement, bindparam
from sqlalchemy.orm import InstrumentedAttribute

from db.models.base import FIRST_INSTANT, LAST_INSTANT


def created_conditions(column: InstrumentedAttribute[datetime.datetime]) -> Mapping[str, ColumnElement[bool]]:
    """Return the filters `created_at_gte` and `created_at_lt`: a half-open range."""
    return {
        "created_at_gte": column >= bindparam("created_at_gte", type_=TIMESTAMP(timezone=True)),
        "created_at_lt": column < bindparam("created_at_lt", type_=TIMESTAMP(timezone=True)),
    }


def created_bounds(column: InstrumentedAttribute[datetime.datetime]) -> Mapping[str, ColumnElement[bool]]:
    """Return the opposite bounds of `created_conditions`."""
    return {"created_at_gte": column <= LAST_INSTANT, "created_at_lt": column >= FIRST_INSTANT}
