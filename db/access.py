"""The viewer of an operation. Every repository function that reads or writes owned rows takes a `Viewer`."""

from dataclasses import dataclass, field
from enum import Enum


class AccessLevel(Enum):
    """The three kinds of callers for which a statement is compiled.

    A statement is compiled once for each, so that an anonymous read has no condition on an owner.
    """

    __hash__ = object.__hash__  # Enum's own is written in Python and slow, and every lookup of a statement uses it

    PUBLIC = "public"
    MEMBER = "member"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Viewer:
    """The caller of an operation, as established from a live session of an active user."""

    user_id: int | None = None
    session_id: int | None = None
    is_admin: bool = False

    access_level: AccessLevel = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        of_user = AccessLevel.ADMIN if self.is_admin else AccessLevel.MEMBER
        object.__setattr__(self, "access_level", AccessLevel.PUBLIC if self.user_id is None else of_user)


ANONYMOUS = Viewer()
