"""The rights to read: operations that reach every readable field of the schema, with the response to each caller.

`tests.graph.schema.test_rights` runs them as each caller of `tests.graph.support.rights_data`. A caller that is not in
`answers` gets `others`: the response as if the private object did not exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.graph.support.rights_data import ADA, ANNA, EVE, IDA, INSTANT, KEY, OTTO


@dataclass(frozen=True)
class Read:
    """One operation, with its data for each caller."""

    query: str
    others: Mapping[str, Any]
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def answer_to(self, caller: str) -> Mapping[str, Any]:
        """Return the caller's data."""
        return self.answers.get(caller, self.others)


def for_callers(callers: tuple[str, ...], data: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the same data for each of the callers."""
    return dict.fromkeys(callers, data)


def connection(*ids: str, **more: Any) -> dict[str, Any]:
    """Return a connection with these nodes and no others."""
    nodes = [{"id": id_} for id_ in ids]
    page_info = {"hasNextPage": False, "hasPreviousPage": False}
    edges = [{"node": node} for node in nodes]
    return {"nodes": nodes, "edges": edges, "pageInfo": page_info, "totalCount": len(ids), **more}


def numbered(*ids: str) -> dict[str, Any]:
    """Return a numbered page with exactly these posts, which are all there are."""
    total = len(ids)
    return {"posts": [{"id": id_} for id_ in ids], "total": total, "totalPages": total, "page": 1, "pageSize": 1}


LIST = "{ nodes { id } edges { node { id } } pageInfo { hasNextPage hasPreviousPage } totalCount }"
NUMBERED = "{ posts { id } total totalPages page pageSize }"

# ---------------------------------------------------------------- emails

PEOPLE = ("anna", "eve", "otto", "ida", "ada")  # newest first; no list has the system user
EMAILS = {name: f"{name}@example.com" for name in PEOPLE}


def people_seen_by(*known: str) -> dict[str, Any]:
    """Return the page of all users with the emails of the `known` ones."""
    nodes = [{"username": name, "email": EMAILS[name] if name in known else None} for name in PEOPLE]
    return {"users": {"nodes": nodes, "edges": [{"node": node} for node in nodes], "totalCount": len(PEOPLE)}}


ADA_SEEN = {
    "username": "ada",
    "email": None,
    "isActive": True,
    "createdAt": INSTANT,
    "updatedAt": INSTANT,
    "version": 1,
    "profile": {"displayName": "Ada L.", "bio": "Counts.", "websiteUrl": "https://ada.example"},
}
ADA_KNOWN = ADA_SEEN | {"email": "ada@example.com"}
ADAS_EMAIL = """{
    userByUsername(username: "ADA") { email }
    post(id: "post_1") { author { email } }
    node(id: "user_2") { ... on User { email } }
    nodes(ids: ["user_2"]) { ... on User { email } }
}"""


def ada_in_all_fields(email: str | None) -> dict[str, Any]:
    """Return the data of ADAS_EMAIL."""
    seen = {"email": email}
    return {"userByUsername": seen, "post": {"author": seen}, "node": seen, "nodes": [seen]}


EMAIL_READS = {
    "user": Read(
        """{ user(id: "user_2") {
            username email isActive createdAt updatedAt version profile { displayName bio websiteUrl }
        } }""",
        {"user": ADA_SEEN},
        for_callers((ADA, ANNA), {"user": ADA_KNOWN}),
    ),
    "email by every other way": Read(
        ADAS_EMAIL, ada_in_all_fields(None), for_callers((ADA, ANNA), ada_in_all_fields("ada@example.com"))
    ),
    "users": Read(
        "{ users(first: 10) { nodes { username email } edges { node { username email } } totalCount } }",
        people_seen_by(),
        {name: people_seen_by(name) for name in (ADA, IDA, OTTO, EVE)} | {ANNA: people_seen_by(*PEOPLE)},
    ),
    "viewer": Read(
        "{ viewer { username email } }",
        {"viewer": None},
        {name: {"viewer": {"username": name, "email": EMAILS[name]}} for name in (ADA, IDA, OTTO, EVE, ANNA)},
    ),
}

# ---------------------------------------------------------------- drafts

DRAFT = {
    "id": "post_2",
    "title": "Secret garden",
    "content": "Nobody knows the gate.",
    "published": False,
    "views": 0,
    "author": {"id": "user_2"},
    "createdAt": INSTANT,
    "updatedAt": INSTANT,
    "version": 1,
}


def drafts_in(query: str, with_draft: Any, without: Any) -> Read:
    """Return a read that shows the draft only to its author and the administrator."""
    return Read(query, without, for_callers((ADA, ANNA), with_draft))


POST_READS = {
    "post": drafts_in(
        """{ post(id: "post_2") {
            id title content published views author { id } createdAt updatedAt version
        } }""",
        {"post": DRAFT},
        {"post": None},
    ),
    "draft by node and nodes": drafts_in(
        '{ node(id: "post_2") { id } nodes(ids: ["post_2", "post_1"]) { id } }',
        {"node": {"id": "post_2"}, "nodes": [{"id": "post_2"}, {"id": "post_1"}]},
        {"node": None, "nodes": [None, {"id": "post_1"}]},
    ),
    "posts": drafts_in(
        f"{{ posts(first: 5) {LIST} }}",
        {"posts": connection("post_2", "post_1")},
        {"posts": connection("post_1")},
    ),
    "posts up to where the draft begins": drafts_in(
        "{ posts(last: 1) { nodes { id } pageInfo { hasNextPage hasPreviousPage } } }",
        {"posts": {"nodes": [{"id": "post_1"}], "pageInfo": {"hasNextPage": False, "hasPreviousPage": True}}},
        {"posts": {"nodes": [{"id": "post_1"}], "pageInfo": {"hasNextPage": False, "hasPreviousPage": False}}},
    ),
    "posts that are drafts": drafts_in(
        f"{{ posts(first: 5, filter: {{published: false}}) {LIST} }}",
        {"posts": connection("post_2")},
        {"posts": connection()},
    ),
    "posts by their author": drafts_in(
        f'{{ posts(first: 5, filter: {{authorId: "user_2"}}) {LIST} }}',
        {"posts": connection("post_2", "post_1")},
        {"posts": connection("post_1")},
    ),
    "posts found by a word of the draft": drafts_in(
        f'{{ posts(first: 5, filter: {{search: "garden or gate"}}) {LIST} }}',
        {"posts": connection("post_2")},
        {"posts": connection()},
    ),
    "posts of all times and views": drafts_in(
        f"""{{ posts(
            first: 5
            filter: {{views: {{gte: 0}}, createdAt: {{gte: "{INSTANT}"}}}}
            orderBy: {{field: TITLE, direction: ASC}}
        ) {LIST} }}""",
        {"posts": connection("post_1", "post_2")},
        {"posts": connection("post_1")},
    ),
    "postsPage": drafts_in(
        f"{{ postsPage(pageSize: 1) {NUMBERED} }}",
        {"postsPage": numbered("post_2", "post_1") | {"posts": [{"id": "post_2"}]}},
        {"postsPage": numbered("post_1")},
    ),
    "postsPage of drafts": drafts_in(
        f'{{ postsPage(pageSize: 1, filter: {{published: false, authorId: "user_2", search: "garden"}}) {NUMBERED} }}',
        {"postsPage": numbered("post_2")},
        {"postsPage": numbered()},
    ),
    "a user's posts": drafts_in(
        f'{{ user(id: "user_2") {{ posts(first: 5) {LIST} }} }}',
        {"user": {"posts": connection("post_2", "post_1")}},
        {"user": {"posts": connection("post_1")}},
    ),
    "a user's drafts": drafts_in(
        f'{{ user(id: "user_2") {{ posts(first: 5, filter: {{published: false, search: "gate"}}) {LIST} }} }}',
        {"user": {"posts": connection("post_2")}},
        {"user": {"posts": connection()}},
    ),
    "an author's drafts, by way of a post": drafts_in(
        """{ post(id: "post_1") { author { posts(first: 5, filter: {published: false}) { totalCount } } } }""",
        {"post": {"author": {"posts": {"totalCount": 1}}}},
        {"post": {"author": {"posts": {"totalCount": 0}}}},
    ),
}

# ---------------------------------------------------------------- money

IDAS_ACCOUNT = {
    "id": "account_1",
    "owner": {"username": "ida", "email": "ida@example.com"},
    "currencyCode": "EUR",
    "balance": {"amount": "70.00", "currencyCode": "EUR"},
    "createdAt": INSTANT,
    "transactions": connection("transaction_2", "transaction_1"),
}
IDAS_HIDDEN = IDAS_ACCOUNT | {
    "owner": {"username": "ida", "email": None},
    "balance": None,
    "transactions": connection(),
}
EVES_ACCOUNT = IDAS_ACCOUNT | {
    "id": "account_3",
    "owner": {"username": "eve", "email": "eve@example.com"},
    "balance": {"amount": "30.00", "currencyCode": "EUR"},
    "transactions": connection("transaction_2"),
}
EVES_HIDDEN = IDAS_HIDDEN | {"id": "account_3", "owner": {"username": "eve", "email": None}}
SENT = {
    "id": "transaction_2",
    "from": IDAS_ACCOUNT,
    "to": EVES_ACCOUNT,
    "amount": {"amount": "30.00", "currencyCode": "EUR"},
    "memo": "tea",
    "createdAt": INSTANT,
}
ACCOUNT = f"""{{ id owner {{ username email }} currencyCode balance {{ amount currencyCode }} createdAt
    transactions(first: 5) {LIST} }}"""
TRANSACTION = f"{{ id from {ACCOUNT} to {ACCOUNT} amount {{ amount currencyCode }} memo createdAt }}"

STATEMENT = f"""statement(from: "{INSTANT}", to: "2026-01-03T00:00:00Z") {{
    openingBalance {{ amount }} closingBalance {{ amount }} received {{ amount }} sent {{ amount }}
    entries(first: 5) {{
        nodes {{ amount {{ amount }} balanceAfter {{ amount }} transaction {{ id }} }}
        edges {{ node {{ transaction {{ id }} }} }}
        pageInfo {{ hasNextPage hasPreviousPage }} totalCount
    }}
}}"""


def statement(received: str, sent: str, *entries: tuple[str, str, str]) -> dict[str, Any]:
    """Return a statement with these entries: transaction, amount, and balance after it."""
    transactions = [{"transaction": {"id": id_}} for id_, _, _ in entries]
    nodes = [
        {"amount": {"amount": amount}, "balanceAfter": {"amount": after}} | one
        for one, (_, amount, after) in zip(transactions, entries, strict=True)
    ]
    page = connection() | {"nodes": nodes, "edges": [{"node": one} for one in transactions], "totalCount": len(entries)}
    return {
        "openingBalance": {"amount": "0.00"},
        "closingBalance": {"amount": entries[-1][2]},
        "received": {"amount": received},
        "sent": {"amount": sent},
        "entries": page,
    }


IDAS_STATEMENT = statement(
    "100.00", "30.00", ("transaction_1", "100.00", "100.00"), ("transaction_2", "-30.00", "70.00")
)
EVES_STATEMENT = statement("30.00", "0.00", ("transaction_2", "30.00", "30.00"))


def both_statements(source: dict[str, Any] | None, target: dict[str, Any] | None) -> dict[str, Any]:
    """Return the data of the statements of both accounts of a transaction."""
    return {"transaction": {"from": {"statement": source}, "to": {"statement": target}}}


MONEY_READS = {
    "account": Read(
        f'{{ account(id: "account_1") {ACCOUNT} }}',
        {"account": None},
        for_callers((IDA, ANNA), {"account": IDAS_ACCOUNT}),
    ),
    "the treasury's account": Read(
        '{ account(id: "account_4") { balance { amount } } }',
        {"account": None},
        {ANNA: {"account": {"balance": {"amount": "-100.00"}}}},
    ),
    "accounts and transactions by node and nodes": Read(
        """{ account: node(id: "account_1") { id } transaction: node(id: "transaction_2") { id }
            nodes(ids: ["account_1", "transaction_2", "account_3"]) { id } }""",
        {"account": None, "transaction": None, "nodes": [None, None, None]},
        {
            IDA: {
                "account": {"id": "account_1"},
                "transaction": {"id": "transaction_2"},
                "nodes": [{"id": "account_1"}, {"id": "transaction_2"}, None],
            },
            EVE: {
                "account": None,
                "transaction": {"id": "transaction_2"},
                "nodes": [None, {"id": "transaction_2"}, {"id": "account_3"}],
            },
            ANNA: {
                "account": {"id": "account_1"},
                "transaction": {"id": "transaction_2"},
                "nodes": [{"id": "account_1"}, {"id": "transaction_2"}, {"id": "account_3"}],
            },
        },
    ),
    "a user's accounts": Read(
        f'{{ user(id: "user_3") {{ accounts(first: 5) {LIST} }} }}',
        {"user": {"accounts": connection()}},
        for_callers((IDA, ANNA), {"user": {"accounts": connection("account_1")}}),
    ),
    "transaction": Read(
        f'{{ transaction(id: "transaction_2") {TRANSACTION} }}',
        {"transaction": None},
        {
            IDA: {"transaction": SENT | {"to": EVES_HIDDEN}},
            EVE: {"transaction": SENT | {"from": IDAS_HIDDEN}},
            ANNA: {"transaction": SENT},
        },
    ),
    "statements of both ends of a transaction": Read(
        f'{{ transaction(id: "transaction_2") {{ from {{ {STATEMENT} }} to {{ {STATEMENT} }} }} }}',
        {"transaction": None},
        {
            IDA: both_statements(IDAS_STATEMENT, None),
            EVE: both_statements(None, EVES_STATEMENT),
            ANNA: both_statements(IDAS_STATEMENT, EVES_STATEMENT),
        },
    ),
    "statement of an account": Read(
        f'{{ account(id: "account_1") {{ {STATEMENT} }} }}',
        {"account": None},
        for_callers((IDA, ANNA), {"account": {"statement": IDAS_STATEMENT}}),
    ),
    "the accounts of the counterparty's owner": Read(
        '{ transaction(id: "transaction_2") { from { owner { accounts(first: 5) { totalCount } } } } }',
        {"transaction": None},
        for_callers((IDA, ANNA), {"transaction": {"from": {"owner": {"accounts": {"totalCount": 1}}}}})
        | {EVE: {"transaction": {"from": {"owner": {"accounts": {"totalCount": 0}}}}}},
    ),
    "transactionByIdempotencyKey": Read(
        f'{{ transactionByIdempotencyKey(key: "{KEY}") {{ id }} }}',
        {"transactionByIdempotencyKey": None},
        # Two users with the same key: each finds their own transaction.
        {
            IDA: {"transactionByIdempotencyKey": {"id": "transaction_2"}},
            ANNA: {"transactionByIdempotencyKey": {"id": "transaction_1"}},
        },
    ),
}

READS: dict[str, Read] = EMAIL_READS | POST_READS | MONEY_READS

# Operations whose responses contain cursors. $cursor is that of ada's draft, which any caller may have obtained.
PAGE = "{ edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount }"
CURSOR_READS = (
    f'{{ posts(first: 5, after: "$cursor") {PAGE} }}',
    f'{{ posts(last: 5, before: "$cursor") {PAGE} }}',
    f'{{ user(id: "user_2") {{ posts(first: 5, after: "$cursor") {PAGE} }} }}',
    f'{{ user(id: "user_2") {{ posts(last: 5, before: "$cursor") {PAGE} }} }}',
    f"{{ users(first: 3) {PAGE} }}",
    f'{{ post(id: "post_1") {{ comments(first: 5) {PAGE} }} }}',
    f"""{{ user(id: "user_3") {{ accounts(first: 5) {{
        edges {{ cursor node {{
            transactions(first: 5) {PAGE}
            statement(from: "{INSTANT}", to: "2026-01-03T00:00:00Z") {{ entries {{ edges {{ cursor }} }} }}
        }} }} pageInfo {{ startCursor endCursor }}
    }} }} }}""",
)
