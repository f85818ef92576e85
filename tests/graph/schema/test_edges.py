"""N+1 is a failing test: the statements of every edge are counted at 1, 10 and 50 parents.

The parents are read by `nodes`, with one statement for each kind; the administrator's session takes one more.
`EDGES` has the number of statements that an edge adds to these two.
"""

from collections.abc import Iterator, Mapping, Sequence

import pytest
from graphql import GraphQLInterfaceType, GraphQLObjectType, get_named_type

from graph.analysis.field_facts import is_row_backed
from graph.schema.root import graphql_schema
from tests.graph.support.both_engines import OfEngine
from tests.graph.support.callers import Client, Person, SignUp
from tests.graph.support.population import Population, populate
from tests.graph.support.recording import recorded

SIZES = (1, 10, 50)
SESSION_AND_PARENTS = 2

EVER = 'from: "0001-01-01T00:00:00Z", to: "9999-12-31T23:59:59Z"'
JANUARY = 'from: "2026-01-01T00:00:00Z", to: "2026-02-01T00:00:00Z"'

# The selections that use each edge, each with its number of statements.
EDGES: Mapping[str, Mapping[str, int]] = {
    "User.profile": {
        "profile { bio }": 1,
        "profile { __typename }": 1,
    },
    "User.posts": {
        "posts { nodes { title } }": 1,
        "posts(first: 9) { edges { cursor node { content } } nodes { views } pageInfo { startCursor endCursor } }": 1,
        "posts(first: 2) { nodes { title } pageInfo { hasNextPage hasPreviousPage } }": 1,
        "posts(last: 2) { nodes { title } pageInfo { hasNextPage hasPreviousPage } }": 1,
        "posts(first: 2, after: $cursor) { nodes { title } pageInfo { hasNextPage } }": 1,
        "posts(first: 2, after: $cursor) { nodes { title } pageInfo { hasPreviousPage } }": 2,
        "posts(last: 2, before: $cursor) { nodes { title } pageInfo { hasPreviousPage } }": 1,
        "posts(last: 2, before: $cursor) { nodes { title } pageInfo { hasNextPage } }": 2,
        "posts(first: 1) { totalCount nodes { title } }": 2,
        'posts(filter: { search: "title" }, last: 1) { totalCount nodes { title } }': 2,
        # A page from one end of the list to the other already has the count.
        "posts { totalCount nodes { title } }": 1,
        "posts(last: 50) { totalCount nodes { title } }": 1,
        "posts(first: 2, after: $cursor) { totalCount pageInfo { hasNextPage hasPreviousPage } }": 3,
        "a: posts(first: 1) { nodes { id } totalCount } b: posts(first: 2) { nodes { id } totalCount }": 3,
    },
    "User.comments": {
        "comments { nodes { body } }": 1,
        "comments(first: 1) { totalCount nodes { version } pageInfo { hasNextPage } }": 2,
        'comments(filter: { search: "comment" }, last: 1) { nodes { body } }': 1,
    },
    "Post.comments": {
        "comments { nodes { body } }": 1,
        "comments(first: 1) { totalCount edges { cursor node { createdAt } } }": 2,
    },
    "Comment.author": {
        "author { username }": 1,
        "a: author { username } b: author { email }": 1,
    },
    "Comment.post": {
        "post { title }": 1,
    },
    "User.accounts": {
        "accounts { nodes { currencyCode balance { amount } } }": 1,
        "accounts { nodes { id } totalCount }": 1,  # no user here has more accounts than a page shows
        "accounts(first: 1, after: $account) { nodes { id } totalCount pageInfo { hasPreviousPage } }": 3,
    },
    "Post.author": {
        "author { username email }": 1,
        "author { id }": 1,
        "a: author { username } b: author { email }": 1,
    },
    "Account.owner": {
        "owner { username }": 1,
    },
    "Account.transactions": {
        "transactions { nodes { amount { amount currencyCode } memo } }": 1,
        "transactions(first: 1) { totalCount edges { node { createdAt } } }": 2,
        "transactions(first: 1) { pageInfo { hasPreviousPage hasNextPage } }": 1,
        "transactions(first: 1, after: $transaction) { totalCount pageInfo { hasPreviousPage } }": 3,
    },
    "Account.statement": {
        f"statement({EVER}) {{ openingBalance {{ amount }} sent {{ amount }} }}": 1,
        f"a: statement({EVER}) {{ closingBalance {{ amount }} }} b: statement({EVER}) {{ sent {{ amount }} }}": 1,
        f"a: statement({EVER}) {{ sent {{ amount }} }} b: statement({JANUARY}) {{ sent {{ amount }} }}": 2,
    },
    "AccountStatement.entries": {
        "entries { nodes { amount { amount } balanceAfter { amount } } totalCount }": 1,
        "entries(first: 1) { nodes { amount { amount } } totalCount pageInfo { hasNextPage hasPreviousPage } }": 1,
        "entries(first: 1, after: $entry) { totalCount pageInfo { hasNextPage hasPreviousPage } }": 1,
        "entries(last: 1, before: $entry) { nodes { balanceAfter { amount } } pageInfo { hasNextPage } }": 1,
        "a: entries(first: 1) { totalCount } b: entries(last: 1) { totalCount }": 2,
    },
    "StatementEntry.transaction": {
        # Without an amount it is in the row of the entry, from which the compiled engine reads it.
        "transaction { memo amount { amount } }": 1,
        "transaction { amount { amount } from { id } to { id } }": 2,
    },
    "Transaction.from": {
        "from { balance { amount } }": 1,
        "from { id } to { id }": 1,
    },
    "Transaction.to": {
        "to { balance { amount } }": 1,
        "to { currencyCode } from { createdAt }": 2,
    },
}

# For the edges of types that are no nodes: the node, the path from it, and the number of statements of that path.
WITHIN: Mapping[str, tuple[str, str, int]] = {
    "AccountStatement": ("Account", f"{{ statement({EVER}) {{ %s }} }}", 1),
    "StatementEntry": ("Account", f"{{ statement({EVER}) {{ entries(first: 2) {{ nodes {{ %s }} }} }} }}", 2),
}

# Chains of edges below whole lists, from `first: $size` on: the numbers of statements of the whole operation on the
# compiled engine, and on the ordinary one.
CHAINS: Mapping[str, tuple[int, int]] = {
    # The statement that reads a post joins its author, and includes the lists below the author.
    "posts(first: $size) { nodes { author { username } } }": (2, 3),
    "posts(first: $size) { nodes { author { posts(first: 3) { nodes { author { username } } } } } }": (2, 4),
    "posts(first: $size) { nodes { author { posts(first: 3) { nodes { author { posts(first: 1) { totalCount } "
    "} } } } } }": (4, 6),
    "users(first: $size) { nodes { posts(first: 3) { nodes { author { profile { bio } } } } } }": (3, 5),
    "users(first: $size) { nodes { accounts(first: 2) { nodes { transactions(last: 3) { nodes { memo } } } } } }": (
        3,
        4,
    ),
    "users(first: $size) { nodes { accounts(first: 2) { nodes { transactions(first: 1) { nodes { to { owner "
    "{ profile { bio } } } } } } } } }": (6, 7),
    f"users(first: $size) {{ nodes {{ accounts(first: 2) {{ nodes {{ statement({EVER}) {{ entries(last: 2) {{ nodes {{ "
    "balanceAfter { amount } transaction { memo } } } } } } } }": (4, 6),
    # One statement reads both accounts of a transaction if the same fields of them are selected.
    "users(first: $size) { nodes { accounts(first: 1) { nodes { transactions(first: 3) { nodes { from { id } to { id } "
    "} } } } } }": (4, 5),
    "users(first: $size) { totalCount nodes { profile { bio } posts(first: 1) { totalCount } accounts(last: 1) "
    "{ totalCount } } }": (5, 7),
    "postsPage(pageSize: $size) { total totalPages posts { author { username } } }": (4, 4),
    # Two lists of posts: the connection joins its authors, the numbered page loads them.
    "posts(first: $size) { nodes { author { id } } } postsPage(pageSize: $size) { posts { author { id } } }": (4, 4),
}


# ---------------------------------------------------------------- every edge has a case


def leads_to_rows(type_: GraphQLObjectType | GraphQLInterfaceType) -> bool:
    """Return whether the type stands for rows, or wraps them like connections and their edges."""
    targets = [get_named_type(field.type) for field in type_.fields.values()]
    return is_row_backed(type_) or any(
        leads_to_rows(target) for target in targets if isinstance(target, GraphQLObjectType)
    )


def edges_of_the_schema() -> Iterator[str]:
    assert graphql_schema.subscription_type is not None
    # An event is always the only object of its operation.
    events = {get_named_type(field.type) for field in graphql_schema.subscription_type.fields.values()}
    for parent in graphql_schema.type_map.values():
        if isinstance(parent, GraphQLObjectType) and is_row_backed(parent) and parent not in events:
            for name, field in parent.fields.items():
                target = get_named_type(field.type)
                if isinstance(target, GraphQLObjectType | GraphQLInterfaceType) and leads_to_rows(target):
                    yield f"{parent.name}.{name}"


def test_every_edge_of_the_schema_has_its_statements_counted() -> None:
    missing, gone = sorted(set(edges_of_the_schema()) - set(EDGES)), sorted(set(EDGES) - set(edges_of_the_schema()))
    assert missing == [], (
        f"add {', '.join(missing)} to EDGES in tests/graph/schema/test_edges.py, "
        "each as edge: {selection: statements}"
    )
    assert gone == [], (
        f"take {', '.join(gone)} out of EDGES in tests/graph/schema/test_edges.py: the schema has no such edge"
    )


# ---------------------------------------------------------------- counts


@pytest.fixture
async def admin(sign_up: SignUp) -> Person:
    """An administrator, who sees every row."""
    return await sign_up("root", admin=True)


@pytest.fixture
async def population(client: Client, admin: Person) -> Population:
    """Fifty rows of every kind."""
    return await populate(client.database, max(SIZES))


async def cursors_in_the_middle(client: Client, admin: Person, population: Population) -> dict[str, str]:
    """Return a cursor in the middle of each list that belongs to a parent."""
    data = await client.data(
        f"""query ($user: ID!, $account: ID!) {{
          posts(first: 75) {{ pageInfo {{ endCursor }} }}
          user(id: $user) {{ accounts {{ pageInfo {{ endCursor }} }} }}
          account(id: $account) {{
            transactions {{ pageInfo {{ startCursor }} }}
            statement({EVER}) {{ entries(first: 1) {{ pageInfo {{ endCursor }} }} }}
          }}
        }}""",
        by=admin,
        user=population.users[0],
        account=population.accounts[0],
    )
    return {
        "$cursor": data["posts"]["pageInfo"]["endCursor"],
        "$account": data["user"]["accounts"]["pageInfo"]["endCursor"],
        "$entry": data["account"]["statement"]["entries"]["pageInfo"]["endCursor"],
        "$transaction": data["account"]["transactions"]["pageInfo"]["startCursor"],
    }


@pytest.mark.parametrize("edge", EDGES)
async def test_an_edge_takes_as_many_statements_for_50_parents_as_for_one(
    client: Client, admin: Person, population: Population, edge: str
) -> None:
    cursors = await cursors_in_the_middle(client, admin, population)
    kind, within, above = WITHIN.get(edge.partition(".")[0], (edge.partition(".")[0], "{ %s }", 0))
    name = f"{kind.lower()}s"
    assert hasattr(population, name), (
        f"make {name} in tests/graph/support/population.py, with their ids as Population.{name}"
    )
    ids: Sequence[str] = getattr(population, name)
    counted = {}
    for selection in EDGES[edge]:
        written = selection
        for name, cursor in cursors.items():
            written = written.replace(name, f'"{cursor}"')
        query = f"query ($ids: [ID!]!) {{ nodes(ids: $ids) {{ ... on {kind} {within % written} }} }}"
        counted[selection] = [await client.statements(query, by=admin, ids=ids[:size]) for size in SIZES]
    assert counted == {
        selection: [SESSION_AND_PARENTS + above + count] * len(SIZES) for selection, count in EDGES[edge].items()
    }


async def test_a_chain_of_edges_takes_as_many_statements_for_50_at_its_head_as_for_one(
    client: Client, admin: Person, population: Population, of_engine: OfEngine
) -> None:
    counted = {}
    for chain in CHAINS:
        query = f"query ($size: Int!) {{ {chain} }}"
        counted[chain] = [await client.statements(query, by=admin, size=size) for size in SIZES]
    assert counted == {chain: [of_engine(*counts)] * len(SIZES) for chain, counts in CHAINS.items()}


async def test_a_chain_that_returns_to_rows_it_has_read_takes_at_most_one_statement_for_each_level(
    client: Client, admin: Person, population: Population, of_engine: OfEngine
) -> None:
    query = """query ($size: Int!) {
      users(first: $size) { nodes { accounts(first: 1) { nodes {
        owner { username }
        transactions(first: 3) { nodes { to { owner { profile { bio } } } } }
      } } } }
    }"""
    counts = [await client.statements(query, by=admin, size=size) for size in SIZES]
    assert counts == of_engine([7, 7, 6], [9, 9, 7])


async def test_nodes_of_mixed_kinds_take_one_statement_for_each_kind(
    client: Client, admin: Person, population: Population
) -> None:
    query = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    kinds = [population.users, population.posts, population.comments, population.accounts, population.transactions]

    def mixed(size: int) -> list[str]:
        return [id_ for kind in kinds for id_ in kind[:size]][::-1]

    assert await client.data(query, by=admin, ids=mixed(20)) == {"nodes": [{"id": id_} for id_ in mixed(20)]}
    assert [await client.statements(query, by=admin, ids=mixed(size)) for size in (1, 10, 20)] == [6, 6, 6]


async def test_edges_below_nodes_of_mixed_kinds_take_one_statement_each(
    client: Client, admin: Person, population: Population
) -> None:
    query = """query ($ids: [ID!]!) {
      nodes(ids: $ids) {
        ... on User { profile { bio } }
        ... on Post { author { username } }
        ... on Account { owner { email } }
        ... on Transaction { from { createdAt } to { currencyCode } }
      }
    }"""
    kinds = [population.users, population.posts, population.accounts, population.transactions]
    counts = [
        await client.statements(query, by=admin, ids=[id_ for kind in kinds for id_ in kind[:size]])
        for size in (1, 10, 25)
    ]
    assert counts == [10, 10, 10]


async def test_a_node_that_is_selected_twenty_times_is_read_once(client: Client, population: Population) -> None:
    aliases = " ".join(f'n{number}: node(id: "{population.users[0]}") {{ id }}' for number in range(20))
    assert await client.statements(f"{{ {aliases} }}") == 1


async def test_a_list_counted_at_three_places_is_counted_once(
    client: Client, population: Population, of_engine: OfEngine
) -> None:
    query = """{
      a: posts(first: 1) { nodes { title } totalCount }
      b: posts(first: 2) { nodes { title } totalCount }
      postsPage { total totalPages }
    }"""
    assert await client.statements(query) == of_engine(3, 4)  # the ordinary engine reads each page separately
    assert await client.statements("{ posts { nodes { title } } }") == 1


async def test_a_page_includes_three_lists_and_further_ones_are_read_separately(
    client: Client, population: Population, of_engine: OfEngine
) -> None:
    lists = [f"p{first}: posts(first: {first}) {{ nodes {{ id }} }}" for first in (1, 2, 3, 4, 5)]
    counts = {
        number: await client.statements(f"{{ users(last: 50) {{ nodes {{ {' '.join(lists[:number])} }} }} }}")
        for number in (1, 3, 4, 5)
    }
    assert counts == of_engine({1: 1, 3: 1, 4: 2, 5: 3}, {1: 2, 3: 4, 4: 5, 5: 6})


async def test_a_list_is_counted_only_by_the_first_of_its_pages(client: Client, population: Population) -> None:
    query = "{ a: posts(first: 1) { totalCount nodes { id } } b: posts(first: 2) { totalCount nodes { id } } }"
    with recorded() as queries:
        data = await client.data(query)
    assert sum("count(*)" in one.query for one in queries) == 1
    assert data["a"]["totalCount"] == data["b"]["totalCount"] > 2


# ---------------------------------------------------------------- bulk writes


async def test_fifty_posts_are_created_with_as_many_statements_as_one(
    client: Client, admin: Person, population: Population
) -> None:
    query = """mutation ($items: [CreatePostInput!]!) {
      createPosts(input: { posts: $items }) { posts { title author { username profile { bio } } } userErrors { code } }
    }"""
    counts = []
    for size in SIZES:
        items = [{"title": "T", "content": "C", "authorId": author} for author in population.users[:size]]
        counts.append(await client.statements(query, by=admin, items=items))
    assert counts == [5, 5, 5]


async def test_fifty_users_are_created_with_as_many_statements_as_one(client: Client, admin: Person) -> None:
    query = """mutation ($items: [CreateUserInput!]!) {
      createUsers(input: { users: $items }) { users { username profile { bio } posts { totalCount } } }
    }"""
    counts = []
    for size in SIZES:
        names = [f"bulk{size}x{number}" for number in range(size)]
        items = [
            {"email": f"{name}@example.org", "username": name, "password": "long enough", "profile": {"bio": "New."}}
            for name in names
        ]
        counts.append(await client.statements(query, by=admin, items=items))
    assert counts == [5, 5, 5]
