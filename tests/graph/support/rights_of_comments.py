"""Who may read and change comments: entries for the tables in `rights_to_read` and `rights_to_change`."""

from tests.graph.support.rights_data import ADA, ANNA, INSTANT, OTTO
from tests.graph.support.rights_to_change import ERRORS, SIGNED_IN, Change, done, for_each, refused
from tests.graph.support.rights_to_read import LIST, Read, connection, drafts_in, for_callers

OTTOS_COMMENT = {
    "id": "comment_1",
    "body": "Cold, too.",
    "author": {"username": "otto", "email": None},
    "post": {"id": "post_1"},
    "createdAt": INSTANT,
    "updatedAt": INSTANT,
    "version": 1,
}
OTTOS_KNOWN = OTTOS_COMMENT | {"author": {"username": "otto", "email": "otto@example.com"}}
COMMENT = "{ id body author { username email } post { id } createdAt updatedAt version }"

COMMENT_READS = {
    "comment on a published post": Read(
        f'{{ comment(id: "comment_1") {COMMENT} }}',
        {"comment": OTTOS_COMMENT},
        for_callers((OTTO, ANNA), {"comment": OTTOS_KNOWN}),
    ),
    # Ida has written one of them: a comment on a draft is as invisible as the draft, to its author too.
    "comments on a draft": drafts_in(
        """{ a: comment(id: "comment_2") { body } b: comment(id: "comment_3") { body }
            node(id: "comment_3") { id } nodes(ids: ["comment_2", "comment_1"]) { id } }""",
        {
            "a": {"body": "Mine alone."},
            "b": {"body": "Pity."},
            "node": {"id": "comment_3"},
            "nodes": [{"id": "comment_2"}, {"id": "comment_1"}],
        },
        {"a": None, "b": None, "node": None, "nodes": [None, {"id": "comment_1"}]},
    ),
    "a post's comments": Read(
        f'{{ post(id: "post_1") {{ comments(first: 5) {LIST} }} }}',
        {"post": {"comments": connection("comment_1")}},
    ),
    "a draft's comments": drafts_in(
        f'{{ post(id: "post_2") {{ comments(first: 5, filter: {{search: "mine or pity"}}) {LIST} }} }}',
        {"post": {"comments": connection("comment_2", "comment_3")}},
        {"post": None},
    ),
    "a user's comments": drafts_in(
        f"""{{ a: user(id: "user_2") {{ comments(first: 5) {LIST} }}
            b: user(id: "user_3") {{ comments(first: 5, filter: {{search: "pity"}}) {LIST} }} }}""",
        {"a": {"comments": connection("comment_2")}, "b": {"comments": connection("comment_3")}},
        {"a": {"comments": connection()}, "b": {"comments": connection()}},
    ),
}

NO_COMMENT = refused("NOT_FOUND", "id", "no such comment", comment=None)

COMMENT_CHANGES: dict[str, Change] = {
    "createComment": Change(
        {"postId": "post_1", "body": "Warm enough."},
        f"comment {{ body author {{ email }} post {{ id }} }} {ERRORS}",
        for_each(
            SIGNED_IN,
            done(
                comment={
                    "body": "Warm enough.",
                    "author": {"email": "$caller@example.com"},
                    "post": {"id": "post_1"},
                }
            ),
        ),
    ),
    "createComment on a draft": Change(
        {"postId": "post_2", "body": "Let me in."},
        f"comment {{ author {{ username }} }} {ERRORS}",
        for_each((ADA, ANNA), done(comment={"author": {"username": "$caller"}})),
        others=refused("NOT_FOUND", "postId", "no such post", comment=None),
        missing={"postId": "post_999"},
    ),
    "createComment as ada": Change(
        {"postId": "post_1", "authorId": "user_2", "body": "Welcome."},
        f"comment {{ author {{ username }} }} {ERRORS}",
        for_each((ADA, ANNA), done(comment={"author": {"username": "ada"}})),
        others=refused("AUTHOR_NOT_FOUND", "authorId", "no such user", comment=None),
        missing={"authorId": "user_999"},
    ),
    "updateComment": Change(
        {"id": "comment_1", "body": "Cold as well."},
        f"comment {{ body }} {ERRORS}",
        for_each((OTTO, ANNA), done(comment={"body": "Cold as well."})),
        others=NO_COMMENT,
        missing={"id": "comment_999"},
    ),
    "updateComment on a draft": Change(
        {"id": "comment_2", "body": "Still mine.", "expectedVersion": 7},
        f"comment {{ body }} {ERRORS}",
        for_each(
            (ADA, ANNA),
            refused(
                "VERSION_CONFLICT",
                "expectedVersion",
                "the comment has changed since: its version is 1, not 7",
                comment=None,
            ),
        ),
        others=NO_COMMENT,
        missing={"id": "comment_999"},
    ),
    "updateComment of one's own on another user's draft": Change(
        {"id": "comment_3", "body": "Great pity."},
        f"comment {{ body }} {ERRORS}",
        {ANNA: done(comment={"body": "Great pity."})},
        others=NO_COMMENT,
        missing={"id": "comment_999"},
    ),
    "deleteComment": Change(
        {"id": "comment_1"},
        f"deletedCommentId {ERRORS}",
        for_each((OTTO, ANNA), done(deletedCommentId="comment_1")),
        others=refused("NOT_FOUND", "id", "no such comment", deletedCommentId=None),
        missing={"id": "comment_999"},
    ),
}
