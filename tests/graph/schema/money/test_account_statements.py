"""`Account.statement` from a client's point of view: its contents, its visibility, and its pages."""

import asyncio
import datetime
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from db.connections.database import OpenTransaction
from db.connections.leases import Driver
from db.settings import Settings
from tests.db.support.backends import waiting_backend
from tests.graph.support.bank import Bank, transfer_input
from tests.graph.support.callers import Client, Person, SignUp
from tests.graph.support.population import populate
from tests.graph.support.recording import recorded

EVER = {"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59.999999Z"}
SUMS = "openingBalance { amount currencyCode } closingBalance { amount } received { amount } sent { amount }"
STATEMENT = f"""query ($id: ID!, $from: DateTime!, $to: DateTime!) {{
  account(id: $id) {{ statement(from: $from, to: $to) {{ {SUMS}
    entries {{ totalCount nodes {{ amount {{ amount currencyCode }} balanceAfter {{ amount }}
      transaction {{ memo from {{ owner {{ username }} }} amount {{ amount }} }} }} }} }} }}
}}"""
PAGE = """query ($id: ID!, $from: DateTime!, $to: DateTime!,
    $first: Int, $after: String, $last: Int, $before: String) {
  account(id: $id) { statement(from: $from, to: $to) {
    openingBalance { amount }
    entries(first: $first, after: $after, last: $last, before: $before) {
      totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      edges { cursor node { amount { amount } balanceAfter { amount } } } } } }
}"""


def day(number: int) -> str:
    return (datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC) + datetime.timedelta(days=number)).isoformat()


async def create_movements(client: Client, one: str, other: str, movements: Sequence[tuple[int, int]]) -> None:
    """Move whole euros from `one` to `other`, or back if negative, each on a given day."""

    async def work(transaction: OpenTransaction) -> None:
        ends = [int(id_.partition("_")[2]) for id_ in (one, other)]
        rows = [
            (*(ends if euros > 0 else ends[::-1]), abs(euros) * 100, datetime.datetime.fromisoformat(day(number)))
            for euros, number in movements
        ]
        columns = ["from_id", "to_id", "amount", "created_at"]
        await transaction.driver.copy_records_to_table("transactions", columns=columns, records=rows)

    await client.database.write(work)


# ---------------------------------------------------------------- contents


async def test_statement_has_the_balance_before_after_and_at_each_entry(
    client: Client, sign_up: SignUp, bank: Bank, ida: Person
) -> None:
    ben = await sign_up("ben")
    mine, theirs = await bank.account(ida), await bank.account(ben)
    assert (await bank.deposit(mine, "100"))["data"]["deposit"]["userErrors"] == []
    body = await bank.transfer(ida, mine, theirs, "12.50", memo="Lunch")
    assert body["data"]["transfer"]["userErrors"] == []
    assert await client.data(STATEMENT, by=ida, id=mine, **EVER) == {
        "account": {
            "statement": {
                "openingBalance": {"amount": "0.00", "currencyCode": "EUR"},
                "closingBalance": {"amount": "87.50"},
                "received": {"amount": "100.00"},
                "sent": {"amount": "12.50"},
                "entries": {
                    "totalCount": 2,
                    "nodes": [
                        {
                            "amount": {"amount": "100.00", "currencyCode": "EUR"},
                            "balanceAfter": {"amount": "100.00"},
                            "transaction": {
                                "memo": None,
                                "from": {"owner": {"username": "treasury"}},
                                "amount": {"amount": "100.00"},
                            },
                        },
                        {
                            "amount": {"amount": "-12.50", "currencyCode": "EUR"},
                            "balanceAfter": {"amount": "87.50"},
                            "transaction": {
                                "memo": "Lunch",
                                "from": {"owner": {"username": "ida"}},
                                "amount": {"amount": "12.50"},
                            },
                        },
                    ],
                },
            }
        }
    }


async def test_system_account_has_a_statement_below_zero(client: Client, bank: Bank, ida: Person) -> None:
    mine = await bank.account(ida, holding="100")
    owner = "query ($id: ID!) { account(id: $id) { transactions { nodes { from { id } } } } }"
    data = await client.data(owner, by=bank.admin, id=mine)
    treasury = data["account"]["transactions"]["nodes"][0]["from"]["id"]
    statement = (await client.data(STATEMENT, by=bank.admin, id=treasury, **EVER))["account"]["statement"]
    assert statement["closingBalance"] == {"amount": "-100.00"}
    assert [node["balanceAfter"] for node in statement["entries"]["nodes"]] == [{"amount": "-100.00"}]


async def test_consecutive_months_cover_all_entries_whatever_the_clock_did(
    client: Client, bank: Bank, ida: Person
) -> None:
    mine, spare = await bank.account(ida), await bank.account(ida)
    # The clock is set back after the third entry, and continues from there.
    await create_movements(client, spare, mine, [(10, 1), (20, 3), (-5, 9), (7, 2), (1, 8), (-2, 12)])
    months = ("0001-01-01T00:00:00Z", day(2), day(8), day(8), day(9), day(20))
    aliases = " ".join(
        f'm{number}: statement(from: "{since}", to: "{until}") {{ openingBalance {{ amount }} '
        "closingBalance { amount } entries { nodes { amount { amount } } } }"
        for number, (since, until) in enumerate(itertools.pairwise(months))
    )
    data = await client.data(f"query ($id: ID!) {{ account(id: $id) {{ {aliases} }} }}", by=ida, id=mine)
    found = [
        (
            one["openingBalance"]["amount"],
            [node["amount"]["amount"] for node in one["entries"]["nodes"]],
            one["closingBalance"]["amount"],
        )
        for one in data["account"].values()
    ]
    assert found == [
        ("0.00", ["10.00"], "10.00"),
        ("10.00", ["20.00"], "30.00"),
        ("30.00", [], "30.00"),
        ("30.00", [], "30.00"),
        ("30.00", ["-5.00", "7.00", "1.00", "-2.00"], "31.00"),
    ]


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (day(0), day(0)),
        (day(1), day(1)),
        ("0001-01-01T00:00:00Z", day(0)),
        ("9999-12-31T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
async def test_statement_without_entries_closes_with_its_opening_balance(
    client: Client, bank: Bank, ida: Person, since: str, until: str
) -> None:
    mine, spare = await bank.account(ida), await bank.account(ida)
    await create_movements(client, spare, mine, [(10, 1), (-3, 2)])
    statement = (await client.data(STATEMENT, by=ida, id=mine, **{"from": since, "to": until}))["account"]["statement"]
    balance = "7.00" if since.startswith("9999") else "0.00"
    assert statement == {
        "openingBalance": {"amount": balance, "currencyCode": "EUR"},
        "closingBalance": {"amount": balance},
        "received": {"amount": "0.00"},
        "sent": {"amount": "0.00"},
        "entries": {"totalCount": 0, "nodes": []},
    }


# ---------------------------------------------------------------- refusals


async def test_statement_that_ends_before_it_begins_is_refused(client: Client, bank: Bank, ida: Person) -> None:
    mine = await bank.account(ida, holding="1")
    body = await client.run(STATEMENT, by=ida, id=mine, **{"from": day(2), "to": day(1)})
    assert body["data"] == {"account": {"statement": None}}
    assert body["errors"] == [
        {
            "message": "from should be before to or equal to it; exchange the two",
            "path": ["account", "statement"],
            "locations": [{"line": 2, "column": 22}],
            "extensions": {"code": "BAD_USER_INPUT"},
        }
    ]


@pytest.mark.parametrize("name", ["from", "to"])
async def test_both_ends_of_a_statement_are_required(client: Client, bank: Bank, ida: Person, name: str) -> None:
    mine = await bank.account(ida)
    query = f'query ($id: ID!) {{ account(id: $id) {{ statement({name}: "{day(1)}") {{ sent {{ amount }} }} }} }}'
    body = await client.run(query, by=ida, id=mine)
    missing = "to" if name == "from" else "from"
    assert [error["message"] for error in body["errors"]] == [
        f"Argument 'Account.statement({missing}:)' of type 'DateTime!' is required, but it was not provided."
    ]


async def test_counterparty_of_a_transaction_sees_no_statement_of_the_account(
    client: Client, sign_up: SignUp, bank: Bank, ida: Person
) -> None:
    ben = await sign_up("ben")
    mine, theirs = await bank.account(ida, holding="5"), await bank.account(ben)
    await bank.transfer(ida, mine, theirs, "2")
    query = """query ($from: DateTime!, $to: DateTime!, $id: ID!) { account(id: $id) { transactions(last: 2) { nodes {
      from { statement(from: $from, to: $to) { closingBalance { amount } entries { nodes { amount { amount } } } } }
      to { id statement(from: $from, to: $to) { closingBalance { amount } entries { nodes { amount { amount } } } } }
    } } } }"""
    data = await client.data(query, by=ida, id=mine, **EVER)
    lunch, deposit = data["account"]["transactions"]["nodes"]
    own = {
        "closingBalance": {"amount": "3.00"},
        "entries": {"nodes": [{"amount": {"amount": "5.00"}}, {"amount": {"amount": "-2.00"}}]},
    }
    assert lunch == {"from": {"statement": own}, "to": {"id": theirs, "statement": None}}
    assert deposit == {"from": {"statement": None}, "to": {"id": mine, "statement": own}}
    assert await client.data(STATEMENT, by=ida, id=theirs, **EVER) == {"account": None}
    assert (await client.data(STATEMENT, by=bank.admin, id=theirs, **EVER))["account"]["statement"] is not None


# ---------------------------------------------------------------- page by page


async def pages(client: Client, by: Person, account: str, size: int, *, backward: bool) -> list[tuple[str, str]]:
    """Return amount and balance of each entry from day 2 to day 9, read page by page while more entries arrive."""
    found: list[tuple[str, str]] = []
    cursor: str | None = None
    while True:
        paging = {"last": size, "before": cursor} if backward else {"first": size, "after": cursor}
        data = await client.data(PAGE, by=by, id=account, **{"from": day(2), "to": day(9)}, **paging)
        statement: Any = data["account"]["statement"]
        assert statement["openingBalance"] == {"amount": "1.00"}
        entries = statement["entries"]
        edges, info = entries["edges"], entries["pageInfo"]
        assert len(edges) <= size
        assert entries["totalCount"] == 7
        assert [info["startCursor"], info["endCursor"]] == [edges[0]["cursor"], edges[-1]["cursor"]]
        rows = [(edge["node"]["amount"]["amount"], edge["node"]["balanceAfter"]["amount"]) for edge in edges]
        ahead, behind = ("hasPreviousPage", "hasNextPage") if backward else ("hasNextPage", "hasPreviousPage")
        assert info[behind] == bool(found)
        found = rows + found if backward else found + rows
        if not info[ahead]:
            return found
        cursor = info["startCursor" if backward else "endCursor"]


@pytest.mark.parametrize("backward", [False, True])
async def test_pages_of_every_size_are_the_whole_statement(
    client: Client, bank: Bank, ida: Person, backward: bool
) -> None:
    mine, spare = await bank.account(ida), await bank.account(ida)
    movements = [(number if number % 3 else -1, number) for number in range(1, 11)]
    await create_movements(client, spare, mine, movements)
    balance, whole = 1, []
    for euros, _ in movements[1:8]:
        balance += euros
        whole.append((f"{euros}.00", f"{balance}.00"))
    for size in range(1, 9):
        assert await pages(client, ida, mine, size, backward=backward) == whole


async def test_cursor_continues_after_entries_that_have_arrived(client: Client, bank: Bank, ida: Person) -> None:
    mine, spare = await bank.account(ida), await bank.account(ida)
    await create_movements(client, spare, mine, [(10, 1), (20, 2)])
    first = await client.data(PAGE, by=ida, id=mine, **EVER, first=5)
    entries = first["account"]["statement"]["entries"]
    assert (entries["totalCount"], entries["pageInfo"]["hasNextPage"]) == (2, False)
    await create_movements(client, spare, mine, [(-5, 3), (1, 1)])
    after = entries["pageInfo"]["endCursor"]
    data = await client.data(PAGE, by=ida, id=mine, **EVER, first=5, after=after)
    nodes = [edge["node"] for edge in data["account"]["statement"]["entries"]["edges"]]
    assert [(node["amount"]["amount"], node["balanceAfter"]["amount"]) for node in nodes] == [
        ("-5.00", "25.00"),
        ("1.00", "26.00"),
    ]


async def test_cursor_of_another_account_or_period_is_only_a_position_and_of_another_list_refused(
    client: Client, bank: Bank, ida: Person
) -> None:
    mine, spare = await bank.account(ida), await bank.account(ida)
    await create_movements(client, spare, mine, [(10, 1), (20, 2), (30, 3)])
    data = await client.data(PAGE, by=ida, id=spare, **EVER, first=1)
    cursor = data["account"]["statement"]["entries"]["pageInfo"]["endCursor"]
    data = await client.data(PAGE, by=ida, id=mine, **{"from": day(2), "to": day(9)}, first=1, after=cursor)
    [edge] = data["account"]["statement"]["entries"]["edges"]
    assert edge["node"] == {"amount": {"amount": "20.00"}, "balanceAfter": {"amount": "30.00"}}
    query = "query ($id: ID!) { account(id: $id) { transactions { pageInfo { endCursor } } } }"
    foreign = (await client.data(query, by=ida, id=mine))["account"]["transactions"]["pageInfo"]["endCursor"]
    body = await client.run(PAGE, by=ida, id=mine, **EVER, after=foreign)
    assert [error["extensions"]["code"] for error in body["errors"]] == ["BAD_USER_INPUT"]
    assert body["errors"][0]["message"].startswith("after is not a cursor of this list")


# ---------------------------------------------------------------- how it is read


async def test_statements_of_many_accounts_over_two_spans_are_two_statements_each(client: Client, bank: Bank) -> None:
    population = await populate(client.database, 50)
    query = f"""query ($ids: [ID!]!) {{ nodes(ids: $ids) {{ ... on Account {{
      a: statement(from: "{day(0)}", to: "2100-01-01T00:00:00Z") {{ {SUMS} entries(first: 1) {{ totalCount
        pageInfo {{ hasNextPage }} nodes {{ balanceAfter {{ amount }} transaction {{ id amount {{ amount }} }} }} }} }}
      b: statement(from: "{day(0)}", to: "{day(1)}") {{ {SUMS} entries(last: 3) {{ nodes {{ amount {{ amount }} }} }} }}
    }} }} }}"""
    counts = [await client.statements(query, by=bank.admin, ids=population.accounts[:size]) for size in (1, 10, 50)]
    assert counts == [7, 7, 7]  # the session, the accounts, two for each period, and the transactions


async def test_transaction_of_an_entry_is_joined_unless_its_amount_is_selected(
    client: Client, settings: Settings, bank: Bank, ida: Person
) -> None:
    mine = await bank.account(ida, holding="5")
    counts = {}
    for selection in ("memo createdAt", "memo from { id }", "amount { amount }"):
        query = f"""query ($id: ID!, $from: DateTime!, $to: DateTime!) {{ account(id: $id) {{
          statement(from: $from, to: $to) {{ entries {{ nodes {{ transaction {{ {selection} }} }} }} }} }} }}"""
        with recorded() as queries:
            await client.data(query, by=ida, id=mine, **EVER)
        counts[selection] = len([one for one in queries if "FROM transactions" in one.query])
    joined = 2 if settings.engine == "compiled" else 3  # the ordinary engine joins nothing
    assert counts == {"memo createdAt": joined, "memo from { id }": joined, "amount { amount }": 3}


async def test_statement_waits_for_a_migration_of_the_ledger_and_sees_all_of_it(
    client: Client, superuser: Driver, bank: Bank, ida: Person
) -> None:
    # A snapshot from before the migration would see the rewritten table as empty.
    mine = await bank.account(ida, holding="5")
    query = """query ($id: ID!, $from: DateTime!, $to: DateTime!) { account(id: $id) {
      statement(from: $from, to: $to) { closingBalance { amount } } } }"""
    async with superuser.transaction():
        await superuser.execute("ALTER TABLE transactions ADD later timestamptz NOT NULL DEFAULT clock_timestamp()")
        query_task = asyncio.create_task(client.data(query, by=ida, id=mine, **EVER))
        await waiting_backend(superuser)
    assert await query_task == {"account": {"statement": {"closingBalance": {"amount": "5.00"}}}}


async def test_payload_of_a_transfer_has_the_statement_that_ends_with_it(
    client: Client, sign_up: SignUp, bank: Bank, ida: Person
) -> None:
    ben = await sign_up("ben")
    mine, theirs = await bank.account(ida, holding="5"), await bank.account(ben)
    statement = f'statement(from: "{EVER["from"]}", to: "{EVER["to"]}")'
    query = f"""mutation ($input: TransferInput!) {{ transfer(input: $input) {{ transaction {{
      id from {{ {statement} {{ closingBalance {{ amount }} entries(last: 1) {{ nodes {{
        transaction {{ id }} }} }} }} }}
      to {{ {statement} {{ closingBalance {{ amount }} }} }} }} }} }}"""
    data = await client.data(query, by=ida, input=transfer_input(mine, theirs, "2"))
    transaction = data["transfer"]["transaction"]
    assert transaction["from"]["statement"] == {
        "closingBalance": {"amount": "3.00"},
        "entries": {"nodes": [{"transaction": {"id": transaction["id"]}}]},
    }
    assert transaction["to"] == {"statement": None}
