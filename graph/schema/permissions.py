"""Who may run which operation at all. Who may see or change which row is decided where rows are, in `db`.

A mutation needs a signed-in caller, with the exceptions in `PUBLIC_MUTATIONS`, each with its reason. It is enforced for
every mutation field by `graph.schema.root`, not by each resolver, so that a new one cannot forget it.
"""

from db.access import Viewer
from graph.errors import Unauthenticated

PUBLIC_MUTATIONS = {
    "signIn": "it is how one signs in",
    "refreshSession": "the refresh token stands for the caller; the access token has often expired by then",
    "createUser": "anyone may register",
}


def signed_in(viewer: Viewer) -> int:
    """Return the user id of a signed-in caller.

    Raises:
        Unauthenticated: the caller is anonymous.
    """
    if viewer.user_id is None:
        raise Unauthenticated
    return viewer.user_id
