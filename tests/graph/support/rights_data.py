"""The data of the tests of rights: five users, their data, and everything that the database contains.

Each test has a separate database, so that every id is known beforehand. All instants are the same, so that lists in the
order of creation are in the order of ids.

    user_1  treasury, the system user
    user_2  ada, who wrote post_1 (published) and post_2 (a draft), and owns no account
    user_3  ida, who owns account_1, with 70.00 EUR
    user_4  otto, who owns account_2, empty, and has no relation to the others
    user_5  eve, who owns account_3, with 30.00 EUR that ida sent her
    user_6  anna, an administrator
    comment_1  otto's, on post_1
    comment_2  ada's, on post_2; and comment_3, ida's, from a time when post_2 was no draft
    account_4 is the treasury's, transaction_1 ida's deposit, transaction_2 what ida sent to eve under KEY
"""

import datetime
from dataclasses import dataclass
from typing import Any

from db.connections.leases import Driver
from tests.graph.support.callers import PASSWORD, Client, Person, SignUp

NOBODY, ADA, IDA, OTTO, EVE, ANNA = "nobody", "ada", "ida", "otto", "eve", "anna"
CALLERS = (NOBODY, ADA, IDA, OTTO, EVE, ANNA)
INSTANT = "2026-01-02T03:04:05.000000Z"
KEY = "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e"

SIGN_IN = "mutation($login: String!, $password: String!) { signIn(input: {login: $login, password: $password}) { %s } }"
CREATE_POSTS = """mutation { createPosts(input: {posts: [
    {title: "Open water", content: "Everybody may swim.", published: true},
    {title: "Secret garden", content: "Nobody knows the gate."}
]}) { posts { id } } }"""
COMMENTS = """INSERT INTO comments (author_id, post_id, body, created_at, updated_at)
    SELECT author_id, post_id, body, $1, $1
    FROM (VALUES (4, 1, 'Cold, too.'), (2, 2, 'Mine alone.'), (3, 2, 'Pity.')) AS given (author_id, post_id, body)"""
OPEN_ACCOUNT = 'mutation { openAccount(input: {currencyCode: "EUR"}) { account { id } } }'
DEPOSIT = """mutation($key: UUID!) {
    deposit(input: {accountId: "account_1", amount: "100.00", idempotencyKey: $key}) { transaction { id } }
}"""
TRANSFER = """mutation($key: UUID!) {
    transfer(input: {
        fromAccountId: "account_1", toAccountId: "account_3", amount: "30", memo: "tea", idempotencyKey: $key
    }) { transaction { id } }
}"""


@dataclass(frozen=True)
class RightsData:
    """The users, and how to send requests as them."""

    client: Client
    superuser: Driver
    people: dict[str, Person]

    async def run(self, query: str, caller: str, **variables: Any) -> dict[str, Any]:
        """Send an operation as one of the callers and return the whole body."""
        return await self.client.run(query, by=self.people.get(caller), **variables)

    async def dump(self) -> dict[str, list[str]]:
        """Return every row of every table as text."""
        return await dump(self.superuser)


async def dump(superuser: Driver) -> dict[str, list[str]]:
    """Return every row of every table as text."""
    tables = await superuser.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return {name: await _rows(superuser, name) for (name,) in tables}


async def _rows(superuser: Driver, table: str) -> list[str]:
    rows = await superuser.fetch(f"SELECT t::text FROM {table} AS t ORDER BY 1")  # noqa: S608 - a name of our own
    return [text for (text,) in rows]


async def create_rights_data(client: Client, sign_up: SignUp, superuser: Driver) -> RightsData:
    """Create the users and their data."""
    people = {name: await sign_up(name, admin=name == ANNA) for name in CALLERS if name != NOBODY}
    data = RightsData(client, superuser, people)
    await data.run(CREATE_POSTS, ADA)
    for owner in (IDA, OTTO, EVE):
        await data.run(OPEN_ACCOUNT, owner)
    deposit = await data.run(DEPOSIT, ANNA, key=KEY)
    transfer = await data.run(TRANSFER, IDA, key=KEY)
    assert deposit == {"data": {"deposit": {"transaction": {"id": "transaction_1"}}}}
    assert transfer == {"data": {"transfer": {"transaction": {"id": "transaction_2"}}}}
    for table in ("users", "posts"):
        await superuser.execute(f"UPDATE {table} SET created_at = '{INSTANT}', updated_at = '{INSTANT}'")  # noqa: S608
    for table in ("accounts", "transactions"):
        await superuser.execute(f"UPDATE {table} SET created_at = '{INSTANT}'")  # noqa: S608
    await superuser.execute(COMMENTS, datetime.datetime.fromisoformat(INSTANT))
    await superuser.execute("INSERT INTO profiles VALUES (2, 'Ada L.', 'Counts.', 'https://ada.example')")
    return data


async def signed_in(client: Client, username: str) -> dict[str, str]:
    """Sign in once more and return the accessToken and the refreshToken of that session."""
    data = await client.data(SIGN_IN % "accessToken refreshToken", login=username, password=PASSWORD)
    tokens: dict[str, str] = data["signIn"]
    return tokens
