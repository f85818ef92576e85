"""Subscriptions in metrics and in the log. `test_tracing.py` has their traces."""

from tests.graph.support.callers import Client, Person
from tests.graph.support.live import open_subscriptions, publish, socket, stream, until_open
from tests.graph.support.recorded_log import VARYING, recorded_log
from tests.graph.support.served_app import until
from tests.graph.telemetry.test_metrics import scraped

LIVE = """subscription Live($after: String) {
  postPublished(after: $after) { cursor post { title author { username } } }
}"""


async def test_connections_subscriptions_and_events_are_counted(client: Client, ida: Person) -> None:
    async with socket(client) as one, stream(client, LIVE):
        await one.send("subscribe", "s", query=LIVE)
        await until_open(client, 2)
        await publish(client, ida, "a", "b")
        cursor = (await one.receive())["payload"]["data"]["postPublished"]["cursor"]
        await one.receive()
        await one.send("subscribe", "again", query=LIVE, variables={"after": cursor})
        await one.receive()
        field = '{field="postPublished"}'

        async def are_counted() -> bool:
            return (await scraped(client)).get(f"folio_events_total{field}") == 5

        await until(are_counted, "five events")
        found = await scraped(client)
        assert found['folio_live_connections{transport="websocket"}'] == 1
        assert found['folio_live_connections{transport="sse"}'] == 1
        assert found[f"folio_subscriptions{field}"] == 3
        assert found[f"folio_subscriptions_resumed_total{field}"] == 1
        assert found[f"folio_event_lag_seconds_count{field}"] == 5

    async def are_closed() -> bool:
        found = await scraped(client)
        ended = found.get('folio_subscriptions_ended_total{field="postPublished",reason="closed"}')
        return (ended, found.get(f"folio_subscriptions{field}"), open_subscriptions(client)) == (3, None, 0)

    await until(are_closed, "the end of all subscriptions")


async def test_subscription_writes_one_line_at_its_end(client: Client, ida: Person) -> None:
    with recorded_log() as log:
        async with socket(client, by=ida) as one:
            await one.send("subscribe", "s", query=LIVE)
            await until_open(client, 1)
            await publish(client, ida, "a", "b")
            await one.receive()
            await one.receive()
            assert [line for line in log.lines if line["logger"] == "folio.subscription"] == []
            await one.send("complete", "s")
            await until_open(client, 0)

        async def is_written() -> bool:
            return any(line["logger"] == "folio.subscription" for line in log.lines)

        await until(is_written, "the line")
        (line,) = [line for line in log.lines if line["logger"] == "folio.subscription"]
    assert {name: value for name, value in line.items() if name not in {*VARYING, "document", "cost"}} == {
        "level": "info",
        "logger": "folio.subscription",
        "message": "subscription",
        "operation": "Live",
        "field": "postPublished",
        "user_id": ida.number,
        "events": 2,
        "reason": "closed",
        "statements": line["statements"],
        "rows": line["rows"],
    }
    assert line["statements"] >= 2
    assert "Live" not in str([one for one in log.operations if one["kind"] == "subscription"])
