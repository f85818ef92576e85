"""Tables: columns, constraints, indexes and relationships, and nothing else.

Migrations and diagrams need only this package. It refers to no repository and no statement.
"""

from db.models.base import Model
from db.models.comments import Comment
from db.models.events import Event, SweptEvents
from db.models.money import Account, IdempotencyKey, Transaction
from db.models.posts import Post
from db.models.sessions import FailedSignIns, RefreshToken, Session, SignInAttempts, SignInPlace
from db.models.users import Profile, User

__all__ = [
    "Account",
    "Comment",
    "Event",
    "FailedSignIns",
    "IdempotencyKey",
    "Model",
    "Post",
    "Profile",
    "RefreshToken",
    "Session",
    "SignInAttempts",
    "SignInPlace",
    "SweptEvents",
    "Transaction",
    "User",
]
