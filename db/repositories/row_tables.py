"""The table of each kind of row that the API reads."""

from db.models import Event, Model, Transaction
from db.repositories.account_statements import AccountStatement

TABLE_OF = {mapper.class_.__name__: mapper.class_.__tablename__ for mapper in Model.registry.mappers} | {
    AccountStatement.__name__: Transaction.__tablename__,
    "PostEvent": Event.__tablename__,
    "CommentEvent": Event.__tablename__,
    "TransactionEvent": Transaction.__tablename__,
}
"""The name of the table of each kind of row. A type of the schema has the name of its model."""
