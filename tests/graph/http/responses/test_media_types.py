"""Media types, parsed as RFC 9110 defines them: those of request bodies, and those of responses."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.connections.leases import Driver
from graph.http.parsing.fields import elements
from tests.graph.support.bodies import ANSWER, CREATE_USER, JSON, NEWER, TYPENAME, refusal, send
from tests.graph.support.callers import Client
from tests.graph.support.rights_data import dump


async def test_body_that_is_not_declared_as_json_is_refused_and_writes_nothing(
    client: Client, superuser: Driver
) -> None:
    before = await dump(superuser)
    for content_type in (
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/json-patch+json",
        "application/json; charset=iso-8859-1",
        "application/json; charset=utf-16",
        "text/plain; application/json",
        "application/json, text/plain",
        "application/json; charset=utf-8; charset=utf-16",
        'application/json; charset="utf-8, utf-16"',
        "application/json; charset",
        'text/plain; note="; application/json"',
    ):
        response = await send(client.http, {"query": CREATE_USER}, {"content-type": content_type})
        assert (content_type, response.status_code) == (content_type, 415)
        message = "Content-Type should be application/json, in UTF-8"
        assert response.json() == refusal("UNSUPPORTED_MEDIA_TYPE", message)
    response = await client.http.post("/graphql", content=orjson.dumps({"query": CREATE_USER}))
    assert response.status_code == 415
    assert await dump(superuser) == before


async def test_content_type_of_json_is_accepted_in_every_spelling(client: Client) -> None:
    for content_type in (
        "application/json",
        "APPLICATION/JSON",
        "application/json;charset=utf-8",
        'application/json; charset="UTF-8"',
        "application/json ;",
        "application/json\t;\tcharset=UTF-8 ;",
        'application/json; Charset="u\\tf-8"',
        "application/json; CHARSET=Utf8",
        "application/json; charset=utf-8; charset=utf-8",
        'application/json; profile="https://example.org/?a=1;b=2,c"; charset=utf-8',
        "application/json; odata=verbose",
    ):
        response = await send(client.http, TYPENAME, {"content-type": content_type})
        assert (content_type, response.status_code, response.json()) == (content_type, 200, ANSWER)


@pytest.mark.parametrize("second", ["text/plain", "application/json; charset=utf-16"])
async def test_two_different_content_types_are_refused(client: Client, second: str) -> None:
    for lines in ((JSON, second), (second, JSON)):
        headers = [("content-type", line) for line in lines]
        response = await client.http.post("/graphql", content=orjson.dumps(TYPENAME), headers=headers)
        assert (lines, response.status_code) == (lines, 415)
    twice = [("content-type", JSON)] * 2
    assert (await client.http.post("/graphql", content=orjson.dumps(TYPENAME), headers=twice)).json() == ANSWER


async def test_refusal_has_a_media_type_that_the_client_accepts(client: Client) -> None:
    wrong: list[tuple[int, bytes, dict[str, str]]] = [
        (400, b"{", {}),
        (400, b"[]", {}),
        (400, b'{"query": "\xe9"}', {}),
        (400, b"{}", {}),
        (401, b'{"query": "{ a }"}', {"authorization": "Bearer nonsense"}),
        (413, b" " * 8_000_000, {}),
        (415, b"{}", {"content-type": "text/plain"}),
        (415, b"{}", {"content-encoding": "br"}),
    ]
    for accept, media_type in (
        (NEWER, NEWER),
        (f"{NEWER};q=0.5, */*;q=0.1", NEWER),
        (f"{JSON};q=0, */*", NEWER),
        (f"{JSON}, {NEWER};q=0.9", JSON),
        ("*/*", JSON),
        ("", JSON),
    ):
        for status, content, headers in wrong:
            response = await send(client.http, content, {**headers, "accept": accept})
            assert (accept, response.status_code) == (accept, status)
            assert response.headers["content-type"] == f"{media_type}; charset=utf-8"
        for method, url, status in (("PUT", "/graphql", 405), ("GET", "/graphql?query=%FF", 400)):
            response = await client.http.request(method, url, headers={"accept": accept, "x-folio-request": "1"})
            assert (accept, response.status_code) == (accept, status)
            assert response.headers["content-type"] == f"{media_type}; charset=utf-8"


async def test_answer_has_the_media_type_that_the_client_prefers(client: Client) -> None:
    for accept, media_type in (
        ("*/*", JSON),
        ("", JSON),
        (JSON, JSON),
        (NEWER, NEWER),
        (f"{NEWER}, {JSON}", NEWER),
        (f"{JSON}, {NEWER}", NEWER),
        (f"{NEWER};q=0.5, {JSON}", JSON),
        (f"{JSON};q=0.5, {NEWER};q=0.9", NEWER),
        (f"{NEWER};charset=utf-8;q=0.9, {JSON};q=0.8", NEWER),
        (f"{JSON}, text/plain, */*", JSON),
        ("application/*", JSON),
        (f"{JSON};q=0, */*", NEWER),
        (f"{JSON};q=0, application/*;q=0.1", NEWER),
        ("text/html, */*;q=0.1", JSON),
        (f"text/html, {NEWER};q=0.1", NEWER),
        (f"{NEWER};q=nonsense, {JSON}", JSON),
        (f"{NEWER.upper()}", NEWER),
        (f'{JSON};q=0.5, text/plain;note="a, {JSON}", {NEWER};q=0.6', NEWER),
        (f"{NEWER} ; Q=0.5 , {JSON} ; q=0.50001", JSON),
        (f"{NEWER};q=nan, {JSON};q=0.1", JSON),
        (f"{NEWER};q=1e9, {JSON}", JSON),
    ):
        response = await send(client.http, TYPENAME, {"accept": accept})
        assert (accept, response.headers["content-type"]) == (accept, f"{media_type}; charset=utf-8")
        assert (response.status_code, response.json()) == (200, ANSWER)


async def test_several_accept_lines_are_one_list(client: Client) -> None:
    lines = [("content-type", JSON), ("accept", "text/html"), ("accept", NEWER)]
    response = await client.http.post("/graphql", content=orjson.dumps(TYPENAME), headers=lines)
    assert (response.status_code, response.headers["content-type"]) == (200, f"{NEWER}; charset=utf-8")
    assert response.request.headers.get_list("accept") == ["text/html", NEWER]


async def test_client_that_accepts_neither_media_type_is_refused_and_writes_nothing(
    client: Client, superuser: Driver
) -> None:
    before = await dump(superuser)
    for accept in ("text/html", "application/xml, text/*", "*/*;q=0", f"{JSON};q=0", f"{JSON};q=0, {NEWER};q=0.0"):
        response = await send(client.http, {"query": CREATE_USER}, {"accept": accept})
        assert (accept, response.status_code) == (accept, 406)
        assert response.json() == refusal("NOT_ACCEPTABLE", f"Accept should allow {NEWER}, {JSON} or text/event-stream")
    assert await dump(superuser) == before


async def test_document_that_is_refused_is_400_in_the_newer_media_type_and_200_in_the_older(client: Client) -> None:
    for document in (
        "{",
        "{ nope }",
        "query A { __typename } query B { __typename }",
        "query ($x: ID!) { user(id: $x) ",
    ):
        older = await send(client.http, {"query": document}, {"accept": JSON})
        newer = await send(client.http, {"query": document}, {"accept": NEWER})
        assert (older.status_code, newer.status_code) == (200, 400)
        assert older.headers["content-type"] == f"{JSON}; charset=utf-8"
        assert newer.headers["content-type"] == f"{NEWER}; charset=utf-8"
        assert list(older.json()) == ["errors"]
        assert older.json() == newer.json()


# ---------------------------------------------------------------- anything at all

odd_values = st.text(alphabet='";,=\\ \taq*/.01json', max_size=30)


@given(value=st.binary(max_size=60) | odd_values.map(str.encode))
def test_any_value_of_a_header_is_parsed(value: bytes) -> None:
    for one in elements(value):
        assert one.name == one.name.strip().lower() != ""
        assert 0 <= one.weight <= 1


async def test_malformed_header_is_never_an_internal_error(client: Client) -> None:
    values = [";", ";;,;", ";q=1", '"', '"\\', ',";,', "a;", "a;=;q", 'a;q="', "*/*;q", "\xff", "=;=,=", "\xa0;\x85"]
    for value in values:
        for name in ("accept", "accept-encoding", "content-type", "content-encoding"):
            lines = {b"content-type": JSON.encode(), name.encode(): value.encode("latin-1")}
            answer = await client.http.post("/graphql", content=orjson.dumps(TYPENAME), headers=lines)
            assert (name, value, answer.status_code in {200, 400, 406, 415}) == (name, value, True)
