"""The rights to run mutations. `db` decides about single rows: which viewer may see or change them.

Each mutation declares its right with its payload (`graph.schema.mutation_kit.payload`), and cannot be declared without
one. Where the caller alone decides, the right is checked before the resolver runs.
"""

from dataclasses import dataclass

from graphql import GraphQLError

from db.access import Viewer
from graph.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class Right:
    """The right to run a mutation.

    Attributes:
        who: a description of the users with the right, with the reason if they need not be signed in.
        is_public: whether the caller need not be signed in.
        admins_alone: the action that only administrators may do, for the message to other users; empty if the row
            decides.
    """

    who: str
    is_public: bool = False
    admins_alone: str = ""

    def ensure(self, viewer: Viewer) -> None:
        """Raise Unauthenticated, or an error with the code FORBIDDEN, if the caller may not run the mutation at all."""
        if viewer.user_id is None and not self.is_public:
            raise Unauthenticated
        if self.admins_alone and not viewer.is_admin:
            raise GraphQLError(f"only administrators {self.admins_alone}", extensions={"code": "FORBIDDEN"})


SIGNED_IN = Right("a signed-in user, who owns what the mutation writes")
OWNER = Right("the owner of the row; the statement decides")
OWNER_OR_ADMIN = Right("the owner of the row, or an administrator; the statement decides")
ADMIN_BY_ROW = Right("an administrator; for other users the row does not exist, which the write decides")


def public(reason: str) -> Right:
    """Return the right of a mutation that needs no sign-in, for the given reason."""
    return Right(f"any caller: {reason}", is_public=True)


def admins_alone(does: str) -> Right:
    """Return the right of administrators to an action, for example "create users in bulk"."""
    return Right("an administrator", admins_alone=does)


def signed_in(viewer: Viewer) -> int:
    """Return the user id of a signed-in caller.

    Raises:
        Unauthenticated: the caller is anonymous.
    """
    if viewer.user_id is None:
        raise Unauthenticated
    return viewer.user_id
