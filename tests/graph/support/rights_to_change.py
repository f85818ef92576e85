"""The rights to change: one entry for each mutation and form of its input, with the response to every kind of caller.

`tests.graph.schema.test_rights` runs the entries in this order, as each caller of `tests.graph.support.rights_data`:
the ones that delete users and their data are last. A caller that is not in `answers` gets `others`. A response with
errors has changed nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.graph.support.callers import PASSWORD
from tests.graph.support.rights_data import ADA, ANNA, CALLERS, EVE, IDA, NOBODY


@dataclass(frozen=True)
class Failure:
    """A response without data."""

    code: str
    message: str


UNAUTHENTICATED = Failure("UNAUTHENTICATED", "sign in first: this needs an access token in the Authorization header")
SIGNED_IN = tuple(caller for caller in CALLERS if caller != NOBODY)

Answer = Mapping[str, Any] | Failure


@dataclass(frozen=True)
class Change:
    """One call of a mutation.

    Attributes:
        given: the input; "$refresh" stands for one of ada's refresh tokens, "$key" for an unused key.
        payload: the selection.
        answers: the payloads of the callers with the right, by caller.
        others: the response to all other signed-in callers.
        missing: the part of the input that names an object, here one that does not exist.
        kept: the table in which even a refusal leaves a row.
        first: the SQL that a superuser runs before.
    """

    given: Mapping[str, Any] | None
    payload: str
    answers: Mapping[str, Mapping[str, Any]]
    others: Answer | None = None
    missing: Mapping[str, Any] = field(default_factory=dict)
    kept: str | None = None
    first: str = ""

    def answer_to(self, caller: str) -> Answer:
        """Return the caller's response."""
        answer = self.answers.get(caller, UNAUTHENTICATED if caller == NOBODY else self.others)
        assert answer is not None, f"the table does not say what {caller} is answered"
        return answer


def for_each(callers: tuple[str, ...], payload: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the same payload for each of the callers; $caller in its texts stands for their name."""
    return {caller: _of_caller(payload, caller) for caller in callers}


def _of_caller(value: Any, caller: str) -> Any:
    if isinstance(value, str):
        return value.replace("$caller", caller)
    if isinstance(value, Mapping):
        return {name: _of_caller(one, caller) for name, one in value.items()}
    return [_of_caller(one, caller) for one in value] if isinstance(value, list) else value


def refused(code: str, where: str, message: str, **nothing: Any) -> dict[str, Any]:
    """Return a payload with one error, and `nothing` in the other fields."""
    path = ["input", *where.split(".")]
    return {**nothing, "userErrors": [{"field": path, "message": message, "code": code}]}


def done(**fields: Any) -> dict[str, Any]:
    """Return a payload without errors."""
    return {**fields, "userErrors": []}


def account_with_contents(account: int, email: str, balance: str, transactions: int) -> dict[str, Any]:
    """Return an account for callers who may see its contents."""
    return {
        "id": f"account_{account}",
        "balance": {"amount": balance},
        "owner": {"email": email},
        "transactions": {"totalCount": transactions},
    }


def counterparty(account: int) -> dict[str, Any]:
    """Return an account for callers who may see only that it exists."""
    hidden = {"balance": None, "owner": {"email": None}, "transactions": {"totalCount": 0}}
    return {"id": f"account_{account}", **hidden}


ERRORS = "userErrors { field message code }"
ENDS = """transaction { amount { amount }
    from { id balance { amount } owner { email } transactions { totalCount } }
    to { id balance { amount } owner { email } transactions { totalCount } }
} replayed"""
TIDES = {"title": "Tides", "content": "Twice a day."}
NO_POST = refused("NOT_FOUND", "id", "no such post", post=None)
NO_USER = refused("NOT_FOUND", "id", "no such user", user=None)

OUT_OF_IDAS = {"fromAccountId": "account_1", "toAccountId": "account_2", "amount": "1", "idempotencyKey": "$key"}

CHANGES: dict[str, Change] = {
    "signIn": Change(
        {"login": "ada", "password": PASSWORD},
        f"viewer {{ username email }} {ERRORS}",
        for_each(CALLERS, done(viewer={"username": "ada", "email": "ada@example.com"})),
    ),
    "refreshSession": Change(
        {"refreshToken": "$refresh"},
        f"viewer {{ username email }} {ERRORS}",
        for_each(CALLERS, done(viewer={"username": "ada", "email": "ada@example.com"})),
    ),
    "signOut": Change(None, "signedOut", for_each(SIGNED_IN, {"signedOut": True})),
    "createUser": Change(
        {"email": "new@example.com", "username": "newcomer", "password": PASSWORD},
        f"user {{ username email }} {ERRORS}",
        for_each(CALLERS, done(user={"username": "newcomer", "email": None}))
        | {ANNA: done(user={"username": "newcomer", "email": "new@example.com"})},
    ),
    "createUsers": Change(
        {"users": [{"email": "newest@example.com", "username": "newest", "password": PASSWORD}]},
        f"users {{ username email }} {ERRORS}",
        {ANNA: done(users=[{"username": "newest", "email": "newest@example.com"}])},
        others=Failure("FORBIDDEN", "only administrators create users in bulk"),
    ),
    "updateUser": Change(
        {"id": "user_2", "password": "battery staple", "currentPassword": PASSWORD, "profile": {"bio": "Sums."}},
        f"user {{ username email profile {{ bio }} }} {ERRORS}",
        for_each((ADA, ANNA), done(user={"username": "ada", "email": "ada@example.com", "profile": {"bio": "Sums."}})),
        others=NO_USER,
        missing={"id": "user_999"},
    ),
    "updateUser to an email that is taken": Change(
        {"id": "user_2", "email": "IDA@example.com", "currentPassword": "battery staple"},
        f"user {{ username }} {ERRORS}",
        for_each((ADA, ANNA), refused("EMAIL_TAKEN", "email", "another user has this email address", user=None)),
        others=NO_USER,
        missing={"id": "user_999"},
    ),
    "updateUser whether eve is active": Change(
        {"id": "user_5", "username": "eva", "isActive": True},
        f"user {{ username isActive }} {ERRORS}",
        {
            ANNA: done(user={"username": "eva", "isActive": True}),
            EVE: refused("NOT_FOUND", "isActive", "only an administrator changes whether a user is active", user=None),
        },
        others=NO_USER,
        missing={"id": "user_999"},
    ),
    "createPost": Change(
        TIDES,
        f"post {{ author {{ email }} }} postEdge {{ node {{ title }} }} {ERRORS}",
        for_each(
            SIGNED_IN, done(post={"author": {"email": "$caller@example.com"}}, postEdge={"node": {"title": "Tides"}})
        ),
    ),
    "createPost as ada": Change(
        TIDES | {"authorId": "user_2"},
        f"post {{ author {{ username }} }} {ERRORS}",
        for_each((ADA, ANNA), done(post={"author": {"username": "ada"}})),
        others=refused("AUTHOR_NOT_FOUND", "authorId", "no such user", post=None),
        missing={"authorId": "user_999"},
    ),
    "createPosts": Change(
        {"posts": [TIDES, TIDES | {"published": True}]},
        f"posts {{ published author {{ username }} }} {ERRORS}",
        for_each(
            SIGNED_IN,
            done(posts=[{"published": published, "author": {"username": "$caller"}} for published in (False, True)]),
        ),
    ),
    "createPosts with one as ada": Change(
        {"posts": [TIDES, TIDES | {"authorId": "user_2"}]},
        f"posts {{ title }} {ERRORS}",
        for_each((ADA, ANNA), done(posts=[{"title": "Tides"}, {"title": "Tides"}])),
        others=refused("AUTHOR_NOT_FOUND", "posts.1.authorId", "no such user", posts=None),
        missing={"posts": [TIDES, TIDES | {"authorId": "user_999"}]},
    ),
    "updatePost": Change(
        {"id": "post_1", "title": "Open sea"},
        f"post {{ title author {{ email }} }} {ERRORS}",
        for_each((ADA, ANNA), done(post={"title": "Open sea", "author": {"email": "ada@example.com"}})),
        others=NO_POST,
        missing={"id": "post_999"},
    ),
    "updatePost of a draft at a wrong version": Change(
        {"id": "post_2", "title": "Secret park", "expectedVersion": 7},
        f"post {{ title }} {ERRORS}",
        for_each(
            (ADA, ANNA),
            refused(
                "VERSION_CONFLICT",
                "expectedVersion",
                "the post has changed since: its version is 1, not 7",
                post=None,
            ),
        ),
        others=NO_POST,
        missing={"id": "post_999"},
    ),
    "recordPostView": Change(
        {"postId": "post_1"},
        f"post {{ views author {{ email }} }} {ERRORS}",
        for_each(SIGNED_IN, done(post={"views": 1, "author": {"email": None}}))
        | for_each((ADA, ANNA), done(post={"views": 1, "author": {"email": "ada@example.com"}})),
    ),
    "recordPostView of a draft": Change(
        {"postId": "post_2"},
        f"post {{ title views }} {ERRORS}",
        for_each((ADA, ANNA), done(post={"title": "Secret garden", "views": 1})),
        others=refused("NOT_FOUND", "postId", "no such post", post=None),
        missing={"postId": "post_999"},
    ),
    "openAccount": Change(
        {"currencyCode": "JPY"},
        f"account {{ balance {{ amount }} owner {{ email }} }} {ERRORS}",
        for_each(SIGNED_IN, done(account={"balance": {"amount": "0"}, "owner": {"email": "$caller@example.com"}})),
    ),
    "deposit": Change(
        {"accountId": "account_1", "amount": "5", "idempotencyKey": "$key"},
        f"{ENDS} {ERRORS}",
        {
            ANNA: done(
                transaction={
                    "amount": {"amount": "5.00"},
                    "from": account_with_contents(4, "treasury@folio.invalid", "-105.00", 2),
                    "to": account_with_contents(1, "ida@example.com", "75.00", 3),
                },
                replayed=False,
            )
        },
        others=refused("ACCOUNT_NOT_FOUND", "accountId", "no such account", transaction=None, replayed=False),
        missing={"accountId": "account_999"},
    ),
    "transfer": Change(
        OUT_OF_IDAS,
        f"{ENDS} {ERRORS}",
        {
            IDA: done(
                transaction={
                    "amount": {"amount": "1.00"},
                    "from": account_with_contents(1, "ida@example.com", "69.00", 3),
                    "to": counterparty(2),
                },
                replayed=False,
            ),
            ANNA: done(
                transaction={
                    "amount": {"amount": "1.00"},
                    "from": account_with_contents(1, "ida@example.com", "74.00", 4),
                    "to": account_with_contents(2, "otto@example.com", "1.00", 1),
                },
                replayed=False,
            ),
        },
        others=refused("ACCOUNT_NOT_FOUND", "fromAccountId", "no such account", transaction=None, replayed=False),
        missing={"fromAccountId": "account_999"},
        # The caller's own key, with the refusal that is repeated whenever it is sent again.
        kept="idempotency_keys",
    ),
    "transfers": Change(
        {"transfers": [OUT_OF_IDAS], "mode": "EACH"},
        f"results {{ {ENDS} }} {ERRORS}",
        {
            IDA: done(
                results=[
                    {
                        "transaction": {
                            "amount": {"amount": "1.00"},
                            "from": account_with_contents(1, "ida@example.com", "68.00", 4),
                            "to": counterparty(2),
                        },
                        "replayed": False,
                    }
                ]
            ),
            ANNA: done(
                results=[
                    {
                        "transaction": {
                            "amount": {"amount": "1.00"},
                            "from": account_with_contents(1, "ida@example.com", "73.00", 5),
                            "to": account_with_contents(2, "otto@example.com", "2.00", 2),
                        },
                        "replayed": False,
                    }
                ]
            ),
        },
        others=refused(
            "ACCOUNT_NOT_FOUND",
            "transfers.0.fromAccountId",
            "no such account",
            results=[{"transaction": None, "replayed": False}],
        ),
        missing={"transfers": [{**OUT_OF_IDAS, "fromAccountId": "account_999"}]},
        kept="idempotency_keys",
    ),
    "deletePost": Change(
        {"id": "post_2"},
        f"deletedPostId {ERRORS}",
        for_each((ADA, ANNA), done(deletedPostId="post_2")),
        others=refused("NOT_FOUND", "id", "no such post", deletedPostId=None),
        missing={"id": "post_999"},
    ),
    "deleteUser who owns an account": Change(
        {"id": "user_3"},
        f"deletedUserId {ERRORS}",
        for_each(
            (IDA, ANNA),
            refused(
                "USER_OWNS_ACCOUNTS",
                "id",
                "the user owns accounts, which are never deleted; deactivate the user instead",
                deletedUserId=None,
            ),
        ),
        others=refused("NOT_FOUND", "id", "no such user", deletedUserId=None),
        missing={"id": "user_999"},
    ),
    "deleteUser": Change(
        {"id": "user_2"},
        f"deletedUserId {ERRORS}",
        for_each((ADA, ANNA), done(deletedUserId="user_2")),
        others=refused("NOT_FOUND", "id", "no such user", deletedUserId=None),
        missing={"id": "user_999"},
        first="DELETE FROM accounts WHERE currency_code = 'JPY'",  # which callers have opened above
    ),
}
