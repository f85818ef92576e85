"""Relationships, for scripts that use the ORM: loaded eagerly on request, and never implicitly."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import RelationshipProperty, configure_mappers, joinedload, load_only, selectinload

from db.access import Viewer
from db.connections.database import Database
from db.models import Account, Comment, Model, Post, Transaction, User
from db.repositories.posts import NewPost, create_posts
from db.repositories.users import NewUser, create_users
from tests.db.support.rows import ADMIN, new_account


def all_relationships() -> dict[str, RelationshipProperty[object]]:
    configure_mappers()
    return {str(one): one for mapper in Model.registry.mappers for one in mapper.relationships}


@pytest.fixture
async def ada(database: Database) -> Viewer:
    """A user with a profile, two posts and an account; there is a second user without any."""
    users = [
        NewUser("ada@example.org", "ada", "a hash", {"display_name": "Ada Lovelace"}),
        NewUser("bob@example.org", "bob", "a hash"),
    ]
    rows = await database.write(lambda transaction: create_users(transaction, ADMIN, ("id",), users))
    viewer = Viewer(user_id=rows[0]["id"])
    posts = [NewPost(rows[0]["id"], title, "some words", published=True) for title in ("One", "Two")]
    await create_posts(database, viewer, ("id",), posts)
    await new_account(database, viewer, holding="5.00")
    return viewer


@pytest.fixture
async def session(database: Database, ada: Viewer) -> AsyncIterator[AsyncSession]:
    async with AsyncSession(database.engine) as opened:
        yield opened


def test_relationships_are_these() -> None:
    known = {
        "User.profile",
        "User.posts",
        "User.accounts",
        "Profile.user",
        "Post.author",
        "Comment.author",
        "Comment.post",
        "Account.owner",
        "Transaction.from_account",
        "Transaction.to_account",
    }
    new = sorted(set(all_relationships()) - known)
    assert new == [], (
        f"add {new} to this list in tests/db/models/test_relationships.py, with a test that loads each of them"
    )
    assert known - set(all_relationships()) == set()


def test_no_relationship_loads_implicitly() -> None:
    assert {name: one.lazy for name, one in all_relationships().items() if one.lazy != "raise"} == {}


async def test_relationship_that_was_not_requested_is_refused(session: AsyncSession) -> None:
    user = (await session.scalars(select(User).where(User.username == "ada"))).one()
    for name in ("profile", "posts", "accounts"):
        with pytest.raises(InvalidRequestError, match=f"'User.{name}' is not available due to lazy='raise'"):
            getattr(user, name)


async def test_users_are_loaded_with_their_posts_profile_and_accounts(session: AsyncSession) -> None:
    with_all = selectinload(User.posts), joinedload(User.profile), selectinload(User.accounts)
    users = (await session.scalars(select(User).order_by(User.id).options(*with_all))).all()
    found = [
        (
            user.username,
            user.profile and user.profile.display_name,
            sorted(post.title for post in user.posts),
            [account.balance for account in user.accounts],
        )
        for user in users
    ]
    assert found == [
        ("treasury", None, [], [-500]),
        ("ada", "Ada Lovelace", ["One", "Two"], [500]),
        ("bob", None, [], []),
    ]


async def test_posts_are_loaded_with_their_author(session: AsyncSession) -> None:
    for option in (joinedload(Post.author), selectinload(Post.author)):
        posts = (await session.scalars(select(Post).order_by(Post.id).options(option))).all()
        assert [(post.title, post.author.username) for post in posts] == [("One", "ada"), ("Two", "ada")]
        session.expunge_all()


async def test_author_of_a_users_posts_is_that_user(session: AsyncSession) -> None:
    both_ways = selectinload(User.posts).joinedload(Post.author)
    user = (await session.scalars(select(User).where(User.username == "ada").options(both_ways))).one()
    assert [post.author is user for post in user.posts] == [True, True]


async def test_accounts_are_loaded_with_their_owner(session: AsyncSession) -> None:
    accounts = (
        await session.scalars(select(Account).order_by(Account.balance).options(joinedload(Account.owner)))
    ).all()
    assert [(account.owner.username, account.balance) for account in accounts] == [("treasury", -500), ("ada", 500)]


async def test_transactions_are_loaded_with_both_accounts_and_their_owners(session: AsyncSession) -> None:
    both = (
        joinedload(Transaction.from_account).joinedload(Account.owner),
        joinedload(Transaction.to_account).joinedload(Account.owner),
    )
    [transaction] = (await session.scalars(select(Transaction).options(*both))).all()
    assert transaction.from_account.owner.username == "treasury"
    assert transaction.to_account.owner.username == "ada"


async def test_only_the_chosen_columns_of_posts_and_their_authors_are_read(session: AsyncSession) -> None:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    connection = await session.connection()
    event.listen(connection.sync_connection, "before_cursor_execute", note)
    options = load_only(Post.title, raiseload=True), joinedload(Post.author).load_only(User.username, raiseload=True)
    posts = (await session.scalars(select(Post).order_by(Post.id).options(*options))).all()
    assert [(post.title, post.author.username) for post in posts] == [("One", "ada"), ("Two", "ada")]
    [statement] = statements
    assert [name for name in ("content", "document", "hashed_password", "email") if name in statement] == []
    with pytest.raises(InvalidRequestError, match=r"'Post\.content' is not available due to raiseload=True"):
        _ = posts[0].content


async def test_comments_are_loaded_with_their_author_and_their_post(session: AsyncSession, ada: Viewer) -> None:
    first_post = (await session.scalars(select(Post).order_by(Post.id))).first()
    assert first_post is not None
    session.add(Comment(body="Quite so.", author_id=ada.user_id, post_id=first_post.id))
    await session.flush()
    session.expunge_all()
    [comment] = (
        await session.scalars(select(Comment).options(joinedload(Comment.author), selectinload(Comment.post)))
    ).all()
    assert (comment.author.username, comment.post.title, comment.body) == ("ada", "One", "Quite so.")
