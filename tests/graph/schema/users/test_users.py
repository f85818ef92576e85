"""Users as others see them, and the system user, which is not a person."""

import pytest

from tests.graph.support.bank import Bank
from tests.graph.support.callers import Client, Person, SignUp

TREASURY = {"id": "user_1", "username": "treasury"}
USER = "{ id username }"


async def test_anonymous_sees_a_user_without_the_email(client: Client, sign_up: SignUp) -> None:
    await sign_up("ada")
    data = await client.data('{ userByUsername(username: "ADA") { username email isActive version } }')
    assert data == {"userByUsername": {"username": "ada", "email": None, "isActive": True, "version": 1}}


LISTS = {
    "newest": "users",
    "first of all": "users(orderBy: [{field: CREATED_AT, direction: ASC}])",
    "by name": "users(orderBy: [{field: USERNAME, direction: DESC}])",
    "by its name": 'users(filter: {usernamePrefix: "treasury"})',
    "inactive": "users(filter: {isActive: false})",
    "from the beginning": 'users(filter: {createdAt: {gte: "0001-01-01T00:00:00Z"}})',
}


@pytest.mark.parametrize("of", LISTS)
async def test_no_list_count_or_search_of_users_has_the_system_user(client: Client, sign_up: SignUp, of: str) -> None:
    root = await sign_up("root", admin=True)
    people = [] if of in ("by its name", "inactive") else [{"id": root.id, "username": "root"}]
    query = f"{{ {LISTS[of]} {{ totalCount nodes {USER} edges {{ node {USER} }} pageInfo {{ hasNextPage }} }} }}"
    for by in (None, root):
        users = (await client.data(query, by=by))["users"]
        assert users == {
            "totalCount": len(people),
            "nodes": people,
            "edges": [{"node": one} for one in people],
            "pageInfo": {"hasNextPage": False},
        }


async def test_the_system_user_is_found_by_id_and_name_and_as_an_owner(bank: Bank, ida: Person) -> None:
    account = await bank.account(ida, holding="5.00")
    data = await bank.client.data(
        f"""query ($account: ID!) {{
          node(id: "user_1") {{ ... on User {USER} }}
          nodes(ids: ["user_1"]) {{ ... on User {USER} }}
          user(id: "user_1") {USER}
          userByUsername(username: "Treasury") {USER}
          account(id: $account) {{ transactions {{ nodes {{ from {{ owner {USER} }} }} }} }}
        }}""",
        by=bank.admin,
        account=account,
    )
    assert data == {
        "node": TREASURY,
        "nodes": [TREASURY],
        "user": TREASURY,
        "userByUsername": TREASURY,
        "account": {"transactions": {"nodes": [{"from": {"owner": TREASURY}}]}},
    }
