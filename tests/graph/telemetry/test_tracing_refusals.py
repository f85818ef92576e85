"""Spans of refusals and of counts: each starts once and ends once, and contains no data of rows."""

from collections.abc import AsyncIterator

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from db.connections.leases import Driver
from db.settings import Settings
from graph.app import create_app
from graph.telemetry.tracing import Tracing
from tests.graph.support.callers import PASSWORD, Client, http_client, serving

BUDGET = 120  # for one sign-up, or five lists of users
USERS = "query Users { users(first: 20) { nodes { username } } }"  # costs 21
SIGN_OUT = "mutation { signOut { signedOut } }"
COUNT = "query Count { all: users { totalCount } again: users { totalCount } }"
CREATE_USER = """mutation Join($email: String!, $username: String!, $password: String!) {
    createUser(input: {email: $email, username: $username, password: $password}) { user { id } }
}"""


class Recorder(SpanProcessor):
    """Records the starts and ends of spans, repeated ones included."""

    def __init__(self) -> None:
        self.started: list[Span] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Record the start of a span."""
        self.started.append(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Record the end of a span."""
        self.ended.append(span)

    def numbers(self) -> tuple[list[int], list[int]]:
        """Return the ids of the started spans and of the ended spans, sorted."""
        started = sorted(span.context.span_id for span in self.started if span.context)
        return started, sorted(span.context.span_id for span in self.ended if span.context)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def traced(settings: Settings, recorder: Recorder) -> AsyncIterator[Client]:
    app = create_app(settings)
    app.state.observer.tracing = Tracing(recorder)
    async with serving(app) as address, http_client(address) as http:
        yield Client(http, app.state.services)


async def test_span_of_an_operation_beyond_the_budget_starts_once_and_ends_once(
    settings: Settings, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(settings.model_copy(update={"cost_per_minute_max": BUDGET}))
    app.state.observer.tracing = Tracing(recorder)
    app.state.operations.find(USERS, None).priced({})  # otherwise its time would be charged
    async with serving(app) as address, http_client(address) as http:
        client = Client(http, app.state.services)
        assert [(await client.post(USERS)).status_code for _ in range(5)] == [200] * 5
        recorder.started.clear()
        recorder.ended.clear()
        refused = [await client.post(USERS) for _ in range(3)]
    assert [answer.status_code for answer in refused] == [429] * 3
    started, ended = recorder.numbers()
    assert (len(started), started, len(set(started))) == (3, ended, 3)
    shown = [
        (span.name, (span.attributes or {})["error.type"], span.status.status_code.name) for span in recorder.ended
    ]
    assert shown == [("query Users", "RATE_LIMITED", "UNSET")] * 3
    assert [(span.attributes or {})["http.response.status_code"] for span in recorder.ended] == [429] * 3
    ids = [(span.attributes or {})["folio.request_id"] for span in recorder.ended]
    assert ids == [answer.headers["x-request-id"] for answer in refused]
    # The SDK warns of a second end, and of an attribute that is set after the end.
    assert [record.getMessage() for record in caplog.records if record.name.startswith("opentelemetry")] == []


async def test_span_of_every_other_refusal_starts_once_and_ends_once(traced: Client, recorder: Recorder) -> None:
    json = {"content-type": "application/json"}
    answers = [
        await traced.http.post("/graphql", content=b"5", headers=json),
        await traced.http.post("/graphql", content=b"{}", headers={"content-type": "text/plain"}),
        await traced.http.post("/graphql", json={"query": USERS}, headers={"accept": "text/html"}),
        await traced.http.post("/graphql", json={"query": USERS}, headers={"authorization": "Bearer nonsense"}),
        await traced.http.get("/graphql", params={"query": SIGN_OUT}, headers={"accept": "application/json"}),
        await traced.http.patch("/graphql"),
        await traced.post("{ nothing }"),
        await traced.post("{" + "__typename " * 21 + "}"),
    ]
    statuses = [400, 415, 406, 401, 405, 405, 200, 200]
    assert [answer.status_code for answer in answers] == statuses
    started, ended = recorder.numbers()
    assert (len(set(started)), started) == (len(answers), ended)
    assert [(span.attributes or {})["http.response.status_code"] for span in recorder.ended] == statuses


async def test_no_span_carries_an_exception_or_a_value_of_the_statement_that_failed(
    traced: Client, recorder: Recorder, superuser: Driver
) -> None:
    await superuser.execute("ALTER TABLE users ADD CONSTRAINT strange CHECK (username <> 'evelyn') NOT VALID")
    values = {"email": "e@example.org", "username": "evelyn", "password": PASSWORD}
    answer = await traced.http.post("/graphql", json={"query": CREATE_USER, "variables": values})
    assert answer.json()["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    # Otherwise the rest would be true even if the statement never ran.
    assert [(span.name, (span.attributes or {}).get("error.type")) for span in recorder.ended][-2:] == [
        ("INSERT", "23514"),
        ("mutation Join", "INTERNAL_SERVER_ERROR"),
    ]
    assert [event.name for span in recorder.ended for event in span.events] == []
    assert [span.status.description for span in recorder.ended if span.status.description] == []
    shown = "".join(span.to_json() for span in recorder.ended)
    assert [value for value in (*values.values(), "$argon2id", "strange") if value in shown] == []


async def test_count_of_a_whole_list_is_one_statement_below_its_operation_however_often_it_is_selected(
    traced: Client, recorder: Recorder
) -> None:
    assert await traced.data(COUNT) == {"all": {"totalCount": 0}, "again": {"totalCount": 0}}
    (operation,) = [span for span in recorder.ended if span.name == "query Count"]
    assert operation.context is not None
    counting = [span for span in recorder.ended if "count(" in str((span.attributes or {}).get("db.query.text"))]
    # It is not a batch: there are no parents whose lists are counted together.
    assert [span.parent.span_id for span in counting if span.parent] == [operation.context.span_id]
    assert [span.name for span in recorder.ended if span.name.startswith("batch")] == []
