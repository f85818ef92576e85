"""Who may run which mutation at all. Who may see or change which row is decided where rows are, in `db`.

Each mutation states its right with its payload (`graph.schema.mutation_kit.payload`), and cannot be declared without
one. What a right can decide by the caller alone is decided before the resolver runs.
"""

from dataclasses import dataclass

from graphql import GraphQLError

from db.access import Viewer
from graph.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class Right:
    """Who may run a mutation.

    Attributes:
        who: in words, and why where it is not a signed-in user.
        is_public: whether the caller need not be signed in.
        admins_alone: what administrators alone do, for the message to everybody else; empty where the row decides.
    """

    who: str
    is_public: bool = False
    admins_alone: str = ""

    def ensure(self, viewer: Viewer) -> None:
        """Raise Unauthenticated, or an error with the code FORBIDDEN, where the caller may not even try."""
        if viewer.user_id is None and not self.is_public:
            raise Unauthenticated
        if self.admins_alone and not viewer.is_admin:
            raise GraphQLError(f"only administrators {self.admins_alone}", extensions={"code": "FORBIDDEN"})


SIGNED_IN = Right("whoever is signed in, and what it writes is their own")
OWNER = Right("whom the row belongs to; the statement decides")
OWNER_OR_ADMIN = Right("whom the row belongs to, or an administrator; the statement decides")
ADMIN_BY_ROW = Right("an administrator; to everybody else the row does not exist, which the write decides")


def public(reason: str) -> Right:
    """Return the right of a mutation that needs no sign-in, which has its reason."""
    return Right(f"anyone: {reason}", is_public=True)


def admins_alone(does: str) -> Right:
    """Return the right of administrators to do what the words say, as in "create users in bulk"."""
    return Right("an administrator", admins_alone=does)


def signed_in(viewer: Viewer) -> int:
    """Return the user id of a signed-in caller.

    Raises:
        Unauthenticated: the caller is anonymous.
    """
    if viewer.user_id is None:
        raise Unauthenticated
    return viewer.user_id
