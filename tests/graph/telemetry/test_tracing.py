"""OpenTelemetry: nested spans of operation, batch and statement; and no tracing code where it is disabled."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from db.connections.leases import Driver
from db.settings import Settings, SettingsError, load_settings
from graph.app import create_app
from graph.telemetry.tracing import Tracing
from tests.graph.support.callers import PASSWORD, Client, http_client, serving
from tests.graph.support.live import socket, until_open

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FEED = "query Feed { posts(first: 10) { nodes { author { username profile { bio } } } } }"


class Traced(Client):
    """A client of an application whose spans are kept."""

    exporter: InMemorySpanExporter

    def tree(self) -> list[str]:
        """Return the finished spans, each with the names of its ancestors, in the order of their starts."""
        spans = {span.context.span_id: span for span in self.exporter.get_finished_spans() if span.context}
        return [_path(span, spans) for span in sorted(spans.values(), key=lambda span: span.start_time or 0)]

    def span(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return found


def _path(span: ReadableSpan, spans: dict[int, ReadableSpan]) -> str:
    above = spans.get(span.parent.span_id) if span.parent else None
    return span.name if above is None else f"{_path(above, spans)} > {span.name}"


@pytest.fixture
async def traced(settings: Settings) -> AsyncIterator[Traced]:
    app = create_app(settings)
    exporter = InMemorySpanExporter()
    app.state.observer.tracing = Tracing(SimpleSpanProcessor(exporter))
    async with serving(app) as address, http_client(address) as http:
        client = Traced(http, app.state.services)
        client.exporter = exporter
        yield client


async def two_posts(client: Client, superuser: Driver) -> None:
    await superuser.execute("INSERT INTO users (email, username, hashed_password) VALUES ('a@b.example', 'ada', 'x')")
    await superuser.execute("INSERT INTO profiles (user_id, bio) SELECT id, 'B' FROM users WHERE username = 'ada'")
    await superuser.execute(
        "INSERT INTO posts (title, content, published, author_id) SELECT 'T', 'C', true, id FROM users, "
        "generate_series(1, 2) WHERE username = 'ada'"
    )


async def test_spans_nest_operation_batch_statement(traced: Traced, superuser: Driver) -> None:
    await two_posts(traced, superuser)
    await traced.data(FEED)
    assert traced.tree() == [
        "query Feed",
        "query Feed > SELECT",
        "query Feed > batch profile_by_user",
        "query Feed > batch profile_by_user > SELECT",
    ]
    assert traced.span("batch profile_by_user").attributes == {"folio.loader": "profile_by_user", "folio.batch.size": 1}
    of_posts, of_profiles = [
        dict(s.attributes or {}) for s in traced.exporter.get_finished_spans() if s.name == "SELECT"
    ]
    assert "FROM posts" in str(of_posts.pop("db.query.text"))
    assert "$1" in str(of_profiles["db.query.text"])
    assert of_posts == {"db.system.name": "postgresql", "db.operation.name": "SELECT", "db.response.returned_rows": 2}
    rows = of_profiles["db.response.returned_rows"]
    assert (rows, type(rows)) == (1, int)  # a boolean would not be shown as a number


async def test_span_of_the_operation_has_the_fields_of_the_log(traced: Traced) -> None:
    response = await traced.post(FEED)
    attributes = dict(traced.span("query Feed").attributes or {})
    assert len(str(attributes.pop("folio.document"))) == 32
    assert attributes == {
        "graphql.operation.type": "query",
        "graphql.operation.name": "Feed",
        "folio.cost": 31,
        "folio.statements": 1,
        "folio.request_id": response.headers["x-request-id"],
        "http.response.status_code": 200,
    }


async def test_simultaneous_batches_are_below_their_own_operations(traced: Traced, superuser: Driver) -> None:
    await two_posts(traced, superuser)
    await asyncio.gather(*(traced.data(FEED) for _ in range(8)))
    assert sorted(traced.tree()) == sorted(
        [
            "query Feed",
            "query Feed > SELECT",
            "query Feed > batch profile_by_user",
            "query Feed > batch profile_by_user > SELECT",
        ]
        * 8
    )
    traces = [span.context.trace_id for span in traced.exporter.get_finished_spans() if span.context]
    assert sorted(traces.count(one) for one in set(traces)) == [4] * 8


async def test_trace_of_the_caller_is_continued(traced: Traced) -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
    response = await traced.http.post("/graphql", json={"query": "{ __typename }"}, headers=headers)
    span = traced.span("query")
    assert span.context is not None
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE_ID, PARENT_ID)
    assert response.headers["traceresponse"] == f"00-{TRACE_ID}-{span.context.span_id:016x}-01"


async def test_caller_that_does_not_record_is_not_recorded(traced: Traced) -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-00"}
    response = await traced.http.post("/graphql", json={"query": "{ __typename }"}, headers=headers)
    assert response.headers["traceresponse"].startswith(f"00-{TRACE_ID}-")
    assert traced.tree() == []


async def test_failures_are_marked_without_their_text(traced: Traced, superuser: Driver) -> None:
    await superuser.execute("ALTER TABLE users ADD CONSTRAINT strange CHECK (username <> 'evelyn') NOT VALID")
    text = """mutation Join {
        createUser(input: {email: "e@example.org", username: "evelyn", password: "%s"}) { user { id } }
    }"""
    await traced.run(text % PASSWORD)
    await traced.run("{ nothing }")
    spans = traced.exporter.get_finished_spans()
    failed = [
        (s.name, (s.attributes or {})["error.type"], s.status.status_code.name) for s in spans if not s.status.is_ok
    ]
    assert failed == [("INSERT", "23514", "ERROR"), ("mutation Join", "INTERNAL_SERVER_ERROR", "ERROR")]
    assert (traced.span("GraphQL Operation").attributes or {})["error.type"] == "GRAPHQL_VALIDATION_FAILED"
    exported = "".join(span.to_json() for span in spans)
    assert [secret for secret in (PASSWORD, "e@example.org", "evelyn", "$argon2id") if secret in exported] == []


def test_no_sdk_and_no_exporter_is_imported_without_an_endpoint() -> None:
    # Only the interface, opentelemetry-api, which FastAPI requires.
    program = (
        "import sys, graph.app, db.settings; graph.app.create_app(db.settings.Settings()); "
        "sys.exit(any(name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0  # noqa: S603


def test_endpoint_without_the_packages_names_what_to_install() -> None:
    program = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "import graph.app, db.settings\n"
        "try: graph.app.create_app(db.settings.Settings(otlp_endpoint='http://127.0.0.1:4318'))\n"
        "except db.settings.SettingsError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)  # noqa: S603
    assert ran.stdout == "FOLIO_OTLP_ENDPOINT needs the extra: pip install 'folio[telemetry]'\n"


@pytest.mark.parametrize("endpoint", ["collector:4318", "http://user:pass@collector", "ftp://collector", "http://"])
def test_invalid_endpoint_prevents_the_start(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLIO_OTLP_ENDPOINT", endpoint)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "should be the address of a collector such as http://127.0.0.1:4318" in str(caught.value)


async def test_dead_collector_delays_no_request(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"otlp_endpoint": "http://127.0.0.1:9"}))
    async with serving(app) as address, http_client(address, timeout=5) as http:
        answers = [(await http.post("/graphql", json={"query": "{ __typename }"})).json() for _ in range(20)]
    assert answers == [{"data": {"__typename": "Query"}}] * 20


async def test_failed_batch_is_marked_without_the_text_of_the_exception(traced: Traced, superuser: Driver) -> None:
    await two_posts(traced, superuser)
    await superuser.execute("REVOKE SELECT ON profiles FROM folio")
    await traced.run(FEED)
    batch = traced.span("batch profile_by_user")
    assert ((batch.attributes or {})["error.type"], batch.status.status_code.name) == ("42501", "ERROR")
    assert "permission denied" not in "".join(span.to_json() for span in traced.exporter.get_finished_spans())


async def test_each_event_is_a_span_in_the_trace_of_its_subscription(traced: Traced, superuser: Driver) -> None:
    async with socket(traced) as one:
        await one.send("subscribe", "s", query="subscription Live { postPublished { post { author { username } } } }")
        await until_open(traced, 1)
        await two_posts(traced, superuser)
        assert [(await one.receive())["type"] for _ in range(2)] == ["next", "next"]
    events = [path for path in traced.tree() if path.startswith("subscription Live > subscription Live")]
    assert events.count("subscription Live > subscription Live") == 2
    assert len(events) >= 4  # each event reads its post
    assert "subscription Live" in traced.tree()
