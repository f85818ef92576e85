"""Who asks. Every repository function that reads or writes rows with an owner takes a `Viewer` and obeys it."""

from dataclasses import dataclass
from enum import Enum


class AccessLevel(Enum):
    """The three kinds of caller that a compiled statement can be for.

    A statement is compiled once for each, so that an anonymous read carries no condition on an owner.
    """

    __hash__ = object.__hash__  # Enum's own is written in Python, and statements are looked up by this all the time

    PUBLIC = "public"
    MEMBER = "member"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Viewer:
    """The caller of an operation, as established from a live session of an active user.

    Attributes:
        user_id: the signed-in user, or None for an anonymous caller.
        session_id: the session that carried the request, or None.
        is_admin: whether that user is an administrator.
    """

    user_id: int | None = None
    session_id: int | None = None
    is_admin: bool = False

    @property
    def access_level(self) -> AccessLevel:
        """The kind of statement that this caller gets."""
        if self.user_id is None:
            return AccessLevel.PUBLIC
        return AccessLevel.ADMIN if self.is_admin else AccessLevel.MEMBER


ANONYMOUS = Viewer()
