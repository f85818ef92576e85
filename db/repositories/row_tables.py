"""The table of each kind of row that the API reads."""

from db.models import Account, Comment, Post, Profile, Transaction, User
from db.repositories.account_statements import AccountStatement

TABLE_OF = {one.__name__: one.__tablename__ for one in (User, Profile, Post, Comment, Account, Transaction)} | {
    AccountStatement.__name__: Transaction.__tablename__
}
"""The name of the table of each kind of row."""
