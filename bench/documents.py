"""The operation of each case in each GraphQL dialect.

Four dialects request the same rows: `folio`, whose lists are Relay connections; `lists`, a schema as one writes it by
hand for Strawberry and Mercurius; `postgraphile` and `strawchemy`, whose schemas are derived from the tables and from
the models. The hand-written peers get only the name of a case and its variables.
"""


def _folio(after: str = "", declared: str = "") -> dict[str, str]:
    return {
        "users_posts": f"query Q($users: Int!, $posts: Int!{declared}) {{ users(first: $users{after}) "
        "{ nodes { id username posts(first: $posts) { nodes { id title } } } } }",
        "posts_authors": f"query Q($posts: Int!{declared}) {{ posts(first: $posts{after}) "
        "{ nodes { id title author { id username } } } }",
        "three_levels": f"query Q($posts: Int!, $each: Int!{declared}) {{ posts(first: $posts{after}) "
        "{ nodes { id title author { id username posts(first: $each) { nodes { id title } } } } } }",
        "filtered_page": "query Q($views: Int!) { posts(first: 20, filter: {views: {gte: $views}}, "
        "orderBy: [{field: VIEWS, direction: DESC}]) { totalCount nodes { id title views } } }",
    }


def _lists(after: str = "", declared: str = "") -> dict[str, str]:
    return {
        "users_posts": f"query Q($users: Int!, $posts: Int!{declared}) {{ users(first: $users{after}) "
        "{ id username posts(first: $posts) { id title } } }",
        "posts_authors": f"query Q($posts: Int!{declared}) {{ posts(first: $posts{after}) "
        "{ id title author { id username } } }",
        "three_levels": f"query Q($posts: Int!, $each: Int!{declared}) {{ posts(first: $posts{after}) "
        "{ id title author { id username posts(first: $each) { id title } } } }",
        "filtered_page": "query Q($views: Int!) { posts: popularPosts(first: 20, viewsMin: $views) "
        "{ totalCount nodes { id title views } } }",
    }


_BY_AGE = "orderBy: [CREATED_AT_DESC, ROW_ID_DESC]"
_SEEN = "condition: {published: true}"


def _postgraphile(after: str = "", declared: str = "") -> dict[str, str]:
    return {
        "users_posts": f"query Q($users: Int!, $posts: Int!{declared}) "
        f"{{ users: allUsers(first: $users{after}, {_BY_AGE}) {{ nodes {{ id: rowId username "
        f"posts: postsByAuthorId(first: $posts, {_SEEN}, {_BY_AGE}) {{ nodes {{ id: rowId title }} }} }} }} }}",
        "posts_authors": f"query Q($posts: Int!{declared}) "
        f"{{ posts: allPosts(first: $posts{after}, {_SEEN}, {_BY_AGE}) "
        "{ nodes { id: rowId title author: userByAuthorId { id: rowId username } } } }",
        "three_levels": f"query Q($posts: Int!, $each: Int!{declared}) "
        f"{{ posts: allPosts(first: $posts{after}, {_SEEN}, {_BY_AGE}) {{ nodes {{ id: rowId title "
        "author: userByAuthorId { id: rowId username "
        f"posts: postsByAuthorId(first: $each, {_SEEN}, {_BY_AGE}) {{ nodes {{ id: rowId title }} }} "
        "} } } }",
        "filtered_page": "query Q($views: BigInt!) { posts: allPosts(first: 20, "
        f"{_SEEN}, filter: {{views: {{greaterThanOrEqualTo: $views}}}}, orderBy: [VIEWS_DESC, ROW_ID_DESC]) "
        "{ totalCount nodes { id: rowId title views } } }",
    }


_NEWEST = "orderBy: [{createdAt: DESC}, {id: DESC}]"


def _strawchemy(name: str = "", declared: str = "") -> dict[str, str]:
    users, posts = (declared.replace("Filter", kind) for kind in ("UserFilter", "PostFilter"))
    return {
        "users_posts": f"query Q($users: Int!, $posts: Int!{users}) {{ users(limit: $users{name}) "
        f"{{ id username posts(limit: $posts, {_NEWEST}) {{ id title }} }} }}",
        "posts_authors": f"query Q($posts: Int!{posts}) {{ posts(limit: $posts{name}) "
        "{ id title author { id username } } }",
        "three_levels": f"query Q($posts: Int!, $each: Int!{posts}) {{ posts(limit: $posts{name}) "
        f"{{ id title author {{ id username posts(limit: $each, {_NEWEST}) {{ id title }} }} }} }}",
    }


_CHANGED = "{ post { id title } userErrors { code } }"
_MOVED = "{ replayed transaction { id } userErrors { code } }"
_CHANGE = f"mutation Change($input: UpdatePostInput!) {{ updatePost(input: $input) {_CHANGED} }}"
_TRANSFER = f"mutation Move($input: TransferInput!) {{ transfer(input: $input) {_MOVED} }}"
_WRITES = {"update_post": _CHANGE, "transfer_1000": _TRANSFER, "transfer_2": _TRANSFER}


def _named(pages: dict[str, str], pages_after: dict[str, str], others: dict[str, str], **more: str) -> dict[str, str]:
    """Return the operations by the names of the cases: pages for equal requests, and pages after a cursor."""
    return {
        **{f"{name}_equal": text for name, text in pages.items()},
        **{f"{name}_each": text for name, text in pages_after.items()},
        "typename": "{ __typename }",
        **others,
        **more,
    }


DOCUMENTS: dict[str, dict[str, str]] = {
    "folio": _named(
        _folio(),
        _folio(", after: $after", ", $after: String!"),
        _WRITES,
        user_posts_each="query Q($id: ID!) "
        "{ user(id: $id) { username createdAt posts(first: 15) { nodes { title views createdAt } } } }",
        post_author_posts_each="query Q($id: ID!) "
        "{ post(id: $id) { title content author { username posts(first: 5) { nodes { title } } } } }",
        feed_each="query Q($after: String!) "
        "{ posts(first: 20, after: $after) { nodes { title author { username } } } }",
        search_each="query Q($since: DateTime!, $until: DateTime!) "
        "{ posts(first: 20, filter: {createdAt: {gte: $since, lt: $until}}, "
        "orderBy: [{field: VIEWS, direction: DESC}]) { nodes { title views author { username } } } }",
        post_author_each="query Q($id: ID!) { post(id: $id) { id title author { id username } } }",
    ),
    "lists": _named(
        _lists(),
        _lists(", after: $after", ", $after: String!"),
        _WRITES,
        user_posts_each="query Q($id: ID!) "
        "{ user(id: $id) { username createdAt posts(first: 15) { title views createdAt } } }",
        post_author_posts_each="query Q($id: ID!) "
        "{ post(id: $id) { title content author { username posts(first: 5) { title } } } }",
        feed_each="query Q($after: String!) { posts(first: 20, after: $after) { title author { username } } }",
        search_each="query Q($since: String!, $until: String!) "
        "{ posts: postsOfPeriod(first: 20, since: $since, until: $until) { title views author { username } } }",
        post_author_each="query Q($id: ID!) { post(id: $id) { id title author { id username } } }",
    ),
    "postgraphile": _named(
        _postgraphile(),
        _postgraphile(", after: $after", ", $after: Cursor!"),
        {},
        user_posts_each="query Q($id: BigInt!) { user: userByRowId(rowId: $id) { username createdAt "
        f"posts: postsByAuthorId(first: 15, {_SEEN}, {_BY_AGE}) {{ nodes {{ title views createdAt }} }} }} }}",
        post_author_posts_each="query Q($id: BigInt!) { post: postByRowId(rowId: $id) { title content "
        "author: userByAuthorId { username "
        f"posts: postsByAuthorId(first: 5, {_SEEN}, {_BY_AGE}) {{ nodes {{ title }} }} }} }} }}",
        feed_each=f"query Q($after: Cursor!) {{ posts: allPosts(first: 20, after: $after, {_SEEN}, {_BY_AGE}) "
        "{ nodes { title author: userByAuthorId { username } } } }",
        search_each="query Q($since: Datetime!, $until: Datetime!) "
        f"{{ posts: allPosts(first: 20, {_SEEN}, filter: {{createdAt: {{greaterThanOrEqualTo: $since, "
        "lessThan: $until}}, orderBy: [VIEWS_DESC, ROW_ID_DESC]) "
        "{ nodes { title views author: userByAuthorId { username } } } }",
        post_author_each="query Q($id: BigInt!) "
        "{ post: postByRowId(rowId: $id) { id: rowId title author: userByAuthorId { id: rowId username } } }",
    ),
    "strawchemy": _named(
        _strawchemy(),
        _strawchemy(", filter: $after", ", $after: Filter!"),
        {},
        user_posts_each="query Q($id: Int!) { user(id: $id) { username createdAt "
        f"posts(limit: 15, {_NEWEST}) {{ title views createdAt }} }} }}",
        post_author_posts_each="query Q($id: Int!) "
        f"{{ post(id: $id) {{ title content author {{ username posts(limit: 5, {_NEWEST}) {{ title }} }} }} }}",
        feed_each="query Q($after: PostFilter!) { posts(limit: 20, filter: $after) { title author { username } } }",
        search_each="query Q($since: DateTime!, $until: DateTime!) "
        "{ posts: popularPosts(limit: 20, filter: {createdAt: {gte: $since, lt: $until}}) "
        "{ title views author { username } } }",
        post_author_each="query Q($id: Int!) { post(id: $id) { id title author { id username } } }",
    ),
}

# The request for the cursor of one row, where only the server can make it: by dialect, then by list.
CURSORS: dict[str, dict[str, str]] = {
    "folio": {
        name: "query C($since: DateTime!, $until: DateTime!) "
        f"{{ rows: {name}(first: 20, filter: {{createdAt: {{gte: $since, lt: $until}}}}) "
        "{ edges { cursor node { id } } } }"
        for name in ("users", "posts")
    },
    "postgraphile": {
        name: f"query C($since: Datetime!, $until: Datetime!) {{ rows: {field}(first: 20, {_BY_AGE}, "
        "filter: {createdAt: {greaterThanOrEqualTo: $since, lessThan: $until}}) "
        "{ edges { cursor node { id: rowId } } } }"
        for name, field in (("users", "allUsers"), ("posts", "allPosts"))
    },
}
