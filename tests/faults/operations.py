"""One operation of each kind of database use, and the locks that make its statements wait."""

import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from tests.faults.served import CREATE_POST, Town
from tests.graph.support.bank import OPEN_ACCOUNT, TRANSFER, transfer_input
from tests.graph.support.callers import PASSWORD

Body = dict[str, Any]

# Each update has a new value: an update to the current value writes nothing.
_numbers = itertools.count(1)

LOOKUP = "query ($id: ID!) { user(id: $id) { username } }"
PAGE = "{ posts(first: 5) { totalCount nodes { title } } }"
NESTED = "{ users(first: 5) { nodes { username posts(first: 2) { totalCount nodes { title author { id } } } } } }"
MONEY = """query ($id: ID!) {
  account(id: $id) { id balance { amount } transactions(first: 3) { nodes { id from { id } } } }
}"""
BALANCE = "query ($id: ID!) { account(id: $id) { id balance { amount } } }"
UPDATE_POST = """mutation ($input: UpdatePostInput!) {
  updatePost(input: $input) { post { title } userErrors { code } }
}"""
DELETE_POST = "mutation ($id: ID!) { deletePost(input: {id: $id}) { deletedPostId userErrors { code } } }"
UPDATE_USER = """mutation ($input: UpdateUserInput!) {
  updateUser(input: $input) { user { profile { bio } } userErrors { code } }
}"""
SIGN_IN = """mutation ($input: SignInInput!) {
  signIn(input: $input) { accessToken viewer { username } userErrors { code } }
}"""


async def lookup(town: Town) -> Body:
    return await town.client.run(LOOKUP, id=town.ida.id)


async def page(town: Town) -> Body:
    return await town.client.run(PAGE, by=town.eve)


async def nested(town: Town) -> Body:
    return await town.client.run(NESTED)


async def balance(town: Town) -> Body:
    return await town.client.run(BALANCE, by=town.ida, id=town.payer_account)


async def money(town: Town) -> Body:
    return await town.client.run(MONEY, by=town.ida, id=town.payer_account)


async def create_post(town: Town) -> Body:
    return await town.client.run(CREATE_POST, by=town.ida, title="New")


async def update_post(town: Town) -> Body:
    return await town.client.run(
        UPDATE_POST, by=town.ida, input={"id": town.posts[0], "title": f"Changed {next(_numbers)}"}
    )


async def update_profile(town: Town) -> Body:
    given = {"id": town.ida.id, "profile": {"bio": f"Reads {next(_numbers)} books."}}
    return await town.client.run(UPDATE_USER, by=town.ida, input=given)


async def transfer(town: Town) -> Body:
    return await town.client.run(
        TRANSFER, by=town.ida, input=transfer_input(town.payer_account, town.payee_account, "0.01")
    )


async def open_account(town: Town) -> Body:
    return await town.client.run(OPEN_ACCOUNT, by=town.eve, input={"currencyCode": "EUR"})


async def sign_in(town: Town) -> Body:
    return await town.client.run(SIGN_IN, input={"login": "ida", "password": PASSWORD})


@dataclass(frozen=True)
class BlockedOperation:
    """An operation, and the lock that makes one of its statements wait.

    Attributes:
        lock: SQL with which a superuser takes it in a transaction; `{post}`, `{user}` and `{account}` are row ids.
    """

    send: Callable[[Town], Coroutine[Any, Any, Body]]
    lock: str

    @property
    def name(self) -> str:
        return self.send.__name__

    def statement(self, town: Town) -> str:
        """Return the SQL that takes the lock for this operation."""
        post, account = (id_.partition("_")[2] for id_ in (town.posts[0], town.payer_account))
        return self.lock.format(post=post, user=town.ida.number, account=account)


def _table(name: str) -> str:
    return f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE"


READS = [
    BlockedOperation(lookup, _table("users")),
    BlockedOperation(page, _table("posts")),
    BlockedOperation(nested, _table("posts")),
]
# Both wait at their second statement, or at the only one.
SNAPSHOTS = [BlockedOperation(balance, _table("accounts")), BlockedOperation(money, _table("transactions"))]
CREATION = BlockedOperation(
    create_post, "SELECT FROM users WHERE id = {user} FOR UPDATE"
)  # the foreign key locks the author
CHANGE = BlockedOperation(update_post, "SELECT FROM posts WHERE id = {post} FOR UPDATE")
MOVEMENT = BlockedOperation(transfer, "SELECT FROM accounts WHERE id = {account} FOR UPDATE")
SINGLE_STATEMENTS = [CREATION, CHANGE, MOVEMENT]
TRANSACTIONS = [
    BlockedOperation(update_profile, _table("profiles")),
    BlockedOperation(open_account, _table("accounts")),
    BlockedOperation(sign_in, _table("refresh_tokens")),  # the last statement of its last transaction
]
EVERY_KIND = [*READS, *SNAPSHOTS, *SINGLE_STATEMENTS, *TRANSACTIONS]
