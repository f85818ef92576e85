"""New rows that a statement receives as arrays, one for each column, so that one text serves any number of rows."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam, column, func
from sqlalchemy.dialects.postgresql import ARRAY

from db.models.base import Model

POSITION = "position"
"""The column with the place of a row in the arrays, from 1."""


def given_rows(model: type[Model], names: Iterable[str]) -> Any:
    """Return a table of new rows with these columns of `model`; the parameters have the names of the columns."""
    columns = [column(name, model.__table__.c[name].type) for name in names]
    arrays = [bindparam(one.name, type_=ARRAY(one.type)) for one in columns]
    rows = func.unnest(*arrays).table_valued(*columns, with_ordinality=POSITION, name="new_rows")
    return rows.render_derived()
