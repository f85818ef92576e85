"""Every table, for whoever needs them all: migrations, scripts that use the ORM, and the tests of the schema."""

from db.account_statements import AccountStatement
from db.accounts import Account
from db.model import Model
from db.posts import Post
from db.profiles import Profile
from db.sessions import RefreshToken, Session
from db.sign_ins import FailedSignIns, SignInAttempts, SignInPlace
from db.transactions import IdempotencyKey, Transaction
from db.users import User

TABLE_OF = {one.__name__: one.__tablename__ for one in (User, Profile, Post, Account, Transaction)} | {
    AccountStatement.__name__: Transaction.__tablename__
}
"""The name of the table of each kind of row that the API reads."""

__all__ = [
    "TABLE_OF",
    "Account",
    "FailedSignIns",
    "IdempotencyKey",
    "Model",
    "Post",
    "Profile",
    "RefreshToken",
    "Session",
    "SignInAttempts",
    "SignInPlace",
    "Transaction",
    "User",
]
