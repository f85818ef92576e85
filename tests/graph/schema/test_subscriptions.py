"""Who receives which events, and what they contain: the rights of reads hold for each event."""

import asyncio
import datetime
from typing import Any

import pytest
from fastapi import FastAPI
from graphql import GraphQLError

from db.access import ANONYMOUS, Viewer
from db.connections.leases import Driver
from db.settings import Settings
from graph.app import create_app
from graph.errors import presented
from graph.operations.subscriptions import EndReason, SubscriptionEndedError
from tests.db.support.live import insert_comment, insert_post
from tests.graph.support.bank import Bank
from tests.graph.support.callers import Client, Person, serving
from tests.graph.support.following import ARRIVES_S, following, received, refusals, viewer_of

PUBLISHED = (
    "subscription ($by: ID, $after: String) { postPublished(authorId: $by, after: $after) { cursor post { id } } }"
)
CHANGED = "subscription ($id: ID!, $after: String) { postChanged(id: $id, after: $after) { cursor post { title } } }"
COMMENTED = "subscription ($id: ID!, $after: String) { commentAdded(postId: $id, after: $after) { comment { body } } }"
ACTIVITY = """subscription ($id: ID!, $after: String) {
  accountActivity(accountId: $id, after: $after) {
    cursor transaction { id amount { amount } from { id balance { amount } } }
  }
}"""
ADMIN = Viewer(user_id=1, is_admin=True)


def posts(events: list[dict[str, Any]], field: str = "postPublished") -> list[Any]:
    """Return the posts of events."""
    return [event[field]["post"] for event in events]


async def update(driver: Driver, post: int, assignments: str) -> None:
    await driver.execute(f"UPDATE posts SET {assignments} WHERE id = $1", post)  # noqa: S608 - constants of this file


async def test_published_posts_of_all_authors_and_of_one(
    app: FastAPI, client: Client, superuser: Driver, ida: Person, eve: Person
) -> None:
    async with (
        following(app, ANONYMOUS, PUBLISHED) as of_all,
        following(app, ANONYMOUS, PUBLISHED, by=eve.id) as of_eve,
        following(app, ANONYMOUS, PUBLISHED, by="user_999") as of_none,
    ):
        first = await insert_post(superuser, ida.number)
        await insert_post(superuser, eve.number, published=False)
        second = await insert_post(superuser, eve.number)
        assert posts(await received(of_all, 2)) == [{"id": f"post_{first}"}, {"id": f"post_{second}"}]
        assert posts(await received(of_eve)) == [{"id": f"post_{second}"}]
        assert [one.field for one in (of_all, of_eve, of_none)] == ["postPublished"] * 3
        assert not of_all.is_resumed


async def test_published_post_that_is_a_draft_again_is_left_out_for_others(
    app: FastAPI, client: Client, superuser: Driver, ida: Person, eve: Person
) -> None:
    viewers = [ANONYMOUS, viewer_of(eve), viewer_of(ida), ADMIN]
    async with following(app, ANONYMOUS, PUBLISHED) as begun:
        start = await insert_post(superuser, eve.number)
        [event] = await received(begun)
        draft, gone = [await insert_post(superuser, ida.number) for _ in range(2)]
        await update(superuser, draft, "published = false")
        await superuser.execute("DELETE FROM posts WHERE id = $1", gone)
        last = await insert_post(superuser, eve.number)
    assert posts([event]) == [{"id": f"post_{start}"}]
    cursor = event["postPublished"]["cursor"]
    found = []
    for viewer in viewers:
        sees_drafts = viewer.is_admin or viewer.user_id == ida.number
        async with following(app, viewer, PUBLISHED, after=cursor) as resumed:
            assert resumed.is_resumed
            found.append([post["id"] for post in posts(await received(resumed, 1 + sees_drafts))])
    assert found == [[f"post_{last}"]] * 2 + [[f"post_{draft}", f"post_{last}"]] * 2


async def test_stranger_learns_nothing_of_a_draft_and_gets_null_once_it_is_none_of_theirs(
    app: FastAPI, client: Client, superuser: Driver, ida: Person, eve: Person
) -> None:
    post = await insert_post(superuser, ida.number, published=False, title="0")
    async with (
        following(app, ANONYMOUS, CHANGED, id=f"post_{post}") as anonymous,
        following(app, viewer_of(eve), CHANGED, id=f"post_{post}") as stranger,
        following(app, viewer_of(ida), CHANGED, id=f"post_{post}") as author,
        following(app, ADMIN, CHANGED, id=f"post_{post}") as admin,
    ):
        steps = [
            ("title = '1'", {"title": "1"}, False),
            ("title = '2', published = true", {"title": "2"}, True),
            ("title = '3'", {"title": "3"}, True),
            ("title = '4', published = false", {"title": "4"}, True),
            ("title = '5'", {"title": "5"}, False),
            ("title = '6'", {"title": "6"}, False),
            ("title = '7', published = true", {"title": "7"}, True),
        ]
        for assignments, shown, is_shown in steps:
            await update(superuser, post, assignments)
            event = await received(author)
            assert await received(admin) == event
            assert posts(event, "postChanged") == [shown]
            if is_shown:
                if shown["title"] == "4":
                    event[0]["postChanged"]["post"] = None
                for other in (anonymous, stranger):
                    assert await received(other) == event  # with the same cursor: there was none in between
        await superuser.execute("DELETE FROM posts WHERE id = $1", post)
        for everyone in (anonymous, stranger, author, admin):
            assert posts(await received(everyone), "postChanged") == [None]


async def test_resumed_stranger_gets_the_events_that_a_live_one_got(
    app: FastAPI, client: Client, superuser: Driver, ida: Person
) -> None:
    post = await insert_post(superuser, ida.number, title="0")
    async with following(app, ANONYMOUS, CHANGED, id=f"post_{post}") as live:
        for number, published in enumerate([True, False, False, True, True, False, True], start=1):
            await update(superuser, post, f"title = '{number}', published = {published}")
        cursors = [event["postChanged"]["cursor"] for event in await received(live, 6)]
    for index, cursor in enumerate(cursors):
        async with following(app, ANONYMOUS, CHANGED, id=f"post_{post}", after=cursor) as resumed:
            rest = await received(resumed, 5 - index)
            assert [event["postChanged"]["cursor"] for event in rest] == cursors[index + 1 :]


async def test_comments_reach_those_who_see_the_post(
    app: FastAPI, client: Client, superuser: Driver, ida: Person, eve: Person
) -> None:
    post = await insert_post(superuser, ida.number, published=False)
    async with (
        following(app, viewer_of(eve), COMMENTED, id=f"post_{post}") as stranger,
        following(app, viewer_of(ida), COMMENTED, id=f"post_{post}") as author,
    ):
        await insert_comment(superuser, ida.number, post)
        assert await received(author) == [{"commentAdded": {"comment": {"body": "b"}}}]
        await update(superuser, post, "published = true")
        await superuser.execute(
            "INSERT INTO comments (body, author_id, post_id) VALUES ('c', $1, $2)", eve.number, post
        )
        for one in (stranger, author):
            assert await received(one) == [{"commentAdded": {"comment": {"body": "c"}}}]
        async with superuser.transaction():
            number = await insert_comment(superuser, eve.number, post)
            await superuser.execute("DELETE FROM comments WHERE id = $1", number)
        for one in (stranger, author):
            assert await received(one) == [{"commentAdded": {"comment": None}}]


async def test_account_activity_is_for_those_who_see_the_balance(
    app: FastAPI, client: Client, bank: Bank, ida: Person, eve: Person
) -> None:
    idas, eves = await bank.account(ida, holding="5.00"), await bank.account(eve)
    refused = [("NOT_FOUND", "accountId is the id of no account of the viewer")]
    assert await refusals(app, viewer_of(eve), ACTIVITY, id=idas) == refused
    assert await refusals(app, viewer_of(eve), ACTIVITY, id="account_999") == refused
    [(code, _)] = await refusals(app, ANONYMOUS, ACTIVITY, id=idas)
    assert code == "UNAUTHENTICATED"
    async with (
        following(app, viewer_of(ida), ACTIVITY, id=idas) as own,
        following(app, viewer_of(eve), ACTIVITY, id=eves) as other,
        following(app, viewer_of(bank.admin, is_admin=True), ACTIVITY, id=eves) as admins,
    ):
        moved = await bank.transfer(ida, idas, eves, "2.00")
        number = moved["data"]["transfer"]["transaction"]["id"]
        for subscription, balance in ((own, {"amount": "3.00"}), (other, None), (admins, {"amount": "3.00"})):
            [event] = await received(subscription)
            transaction = {"id": number, "amount": {"amount": "2.00"}, "from": {"id": idas, "balance": balance}}
            assert event["accountActivity"]["transaction"] == transaction


async def test_invalid_arguments_are_refused_before_the_first_event(app: FastAPI, client: Client, ida: Person) -> None:
    for wrong in (
        await refusals(app, ANONYMOUS, PUBLISHED, by="post_1"),
        await refusals(app, ANONYMOUS, CHANGED, id="1"),
        await refusals(app, ANONYMOUS, CHANGED),
        await refusals(app, ANONYMOUS, COMMENTED, id=ida.id),
        await refusals(app, viewer_of(ida), ACTIVITY, id=ida.id),
        await refusals(app, ANONYMOUS, PUBLISHED, after="x"),
    ):
        assert [code for code, _ in wrong] == ["BAD_USER_INPUT"]
    assert client.services.events.feeds == {}


async def test_cursor_of_deleted_events_is_refused_with_the_way_out(
    app: FastAPI, client: Client, superuser: Driver, ida: Person
) -> None:
    async with following(app, ANONYMOUS, PUBLISHED) as live:
        await insert_post(superuser, ida.number)
        [event] = await received(live)
    await superuser.execute("INSERT INTO swept_events (transaction_id, event_id) VALUES (9e17, 1)")
    [(code, message)] = await refusals(app, ANONYMOUS, PUBLISHED, after=event["postPublished"]["cursor"])
    assert code == "EVENTS_EXPIRED"
    assert message == (
        "after is the cursor of an event whose successors are not kept any more; fetch the data again, and subscribe "
        "without after"
    )
    assert client.services.events.feeds == {}


async def test_event_is_read_as_a_query_with_a_statement_for_each_edge(
    app: FastAPI, client: Client, superuser: Driver, ida: Person
) -> None:
    text = """subscription { postPublished { cursor post {
        title author { username posts(first: 2) { totalCount nodes { title } } } comments(first: 1) { nodes { body } }
    } } }"""
    async with following(app, ANONYMOUS, text) as subscription:
        post = await insert_post(superuser, ida.number)
        await insert_comment(superuser, ida.number, post)
        async with asyncio.timeout(60):
            event = await anext(subscription)
        assert event.result.errors is None
        assert event.result.data is not None
        assert event.cursor == event.result.data["postPublished"]["cursor"]
        assert abs(datetime.datetime.now(datetime.UTC) - event.created_at) < datetime.timedelta(minutes=5)


async def test_subscribers_with_the_same_rights_share_the_reads_of_an_event(
    app: FastAPI, client: Client, superuser: Driver, ida: Person
) -> None:
    async def statements_of(count: int) -> int:
        subscriptions = [following(app, ANONYMOUS, PUBLISHED) for _ in range(count)]
        opened = [await one.__aenter__() for one in subscriptions]
        before = client.database.counters.statements
        post = await insert_post(superuser, ida.number)
        found = await asyncio.gather(*(received(one) for one in opened))
        assert [posts(events) for events in found] == [[{"id": f"post_{post}"}]] * count
        statements = client.database.counters.statements - before
        for one in subscriptions:
            await one.__aexit__(None, None, None)
        return statements

    # Each alone takes two statements. The feed takes some more while other transactions are open.
    assert await statements_of(40) < 40


async def test_event_that_cannot_be_read_in_time_is_sent_with_the_error_and_does_not_hold_up_the_next(
    settings: Settings, superuser: Driver
) -> None:
    text = "subscription { postPublished { cursor post { title author { username } } } }"
    app = create_app(settings.model_copy(update={"lock_timeout_ms": 50}))
    async with serving(app):
        author = await superuser.fetchval("SELECT id FROM users WHERE role = 'system'")
        async with following(app, ANONYMOUS, text) as subscription:
            await insert_post(superuser, author, title="late")
            async with superuser.transaction():
                await superuser.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
                async with asyncio.timeout(ARRIVES_S):
                    event = await anext(subscription)
            assert event.result.errors is not None
            assert {_code(error) for error in event.result.errors} == {"DATABASE_BUSY"}
            await insert_post(superuser, author, title="next")
            [found] = await received(subscription)
            assert found["postPublished"]["post"]["title"] == "next"


def _code(error: GraphQLError) -> str:
    shown: str = (presented(error, "1").extensions or {})["code"]
    return shown


async def test_subscription_ends_with_a_reason_and_a_code(
    app: FastAPI, client: Client, superuser: Driver, ida: Person
) -> None:
    async with following(app, ANONYMOUS, PUBLISHED) as subscription:
        for feed in client.services.events.feeds.values():
            feed.stop()
        with pytest.raises(SubscriptionEndedError) as ended:
            await anext(subscription)
        assert ended.value.reason is EndReason.STOPPED
        assert ended.value.error.extensions == {"code": "SERVER_STOPPING"}
        await subscription.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)
