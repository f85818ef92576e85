"""The protocol graphql-transport-ws, message by message: what is answered, and with which code a socket is closed."""

import asyncio
from typing import Any

import pytest
from websockets.typing import Subprotocol

from db.settings import Settings
from tests.graph.support.callers import Client, Person
from tests.graph.support.live import ACK, LIMIT_S, socket
from tests.graph.support.served_app import served


async def test_query_over_a_socket_has_one_result_and_completes(client: Client) -> None:
    async with socket(client) as one:
        assert one.connection.subprotocol == "graphql-transport-ws"
        assert await one.run("1", "{ __typename }") == {"data": {"__typename": "Query"}}
        assert await one.run("1", "{ __typename }") == {"data": {"__typename": "Query"}}  # the id is free again


async def test_mutation_over_a_socket_runs_as_the_caller(client: Client, ida: Person) -> None:
    create = 'mutation { createPost(input: {title: "A", content: "B"}) { post { title author { username } } } }'
    async with socket(client, by=ida) as one:
        expected = {"data": {"createPost": {"post": {"title": "A", "author": {"username": "ida"}}}}}
        assert await one.run("a", create) == expected


@pytest.mark.parametrize("name", ["authorization", "Authorization"])
async def test_token_is_taken_from_the_payload_of_the_init(client: Client, ida: Person, name: str) -> None:
    async with socket(client, initialises=False) as one:
        await one.send("connection_init", **{name: f"Bearer {ida.token}"})
        assert await one.receive() == ACK
        assert await one.run("1", "{ viewer { username } }") == {"data": {"viewer": {"username": "ida"}}}


async def test_token_is_taken_from_the_handshake_of_a_program(client: Client, ida: Person) -> None:
    async with socket(client, additional_headers={"authorization": f"Bearer {ida.token}"}) as one:
        assert await one.run("1", "{ viewer { username } }") == {"data": {"viewer": {"username": "ida"}}}


async def test_operations_run_at_once_and_end_in_any_order(client: Client) -> None:
    async with socket(client) as one:
        for number in range(20):
            await one.send("subscribe", str(number), query="{ users(first: 1) { totalCount } }")
        messages = [await one.receive() for _ in range(40)]
        assert sorted(int(each["id"]) for each in messages if each["type"] == "next") == list(range(20))
        assert sorted(int(each["id"]) for each in messages if each["type"] == "complete") == list(range(20))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a syntax error": ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
    "an unknown field": ({"query": "{ nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
    "a missing variable": ({"query": "query ($id: ID!) { post(id: $id) { id } }"}, "BAD_USER_INPUT"),
    "too much": ({"query": "{ " + " ".join(f"a{n}: __typename" for n in range(60)) + " }"}, "OPERATION_TOO_LARGE"),
    "no query": ({"extensions": {}}, "BAD_REQUEST"),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_operation_that_is_refused_gets_an_error_message_and_the_socket_stays(client: Client, kind: str) -> None:
    payload, code = REFUSED[kind]
    async with socket(client) as one:
        await one.send("subscribe", "1", **payload)
        message = await one.receive()
        assert (message["type"], message["id"]) == ("error", "1")
        assert message["payload"][0]["extensions"]["code"] == code
        assert await one.run("1", "{ __typename }") == {"data": {"__typename": "Query"}}


async def test_error_of_a_field_is_in_the_result(client: Client) -> None:
    async with socket(client) as one:
        result = await one.run("1", '{ post(id: "post_1") { id } users(first: 1000) { totalCount } }')
        assert result["errors"][0]["path"] == ["users"]


async def test_ping_is_answered_before_and_after_the_init(client: Client) -> None:
    async with socket(client, initialises=False) as one:
        await one.send("ping")
        assert await one.receive() == {"type": "pong"}
        await one.send("pong")
        await one.initialise()
        await one.send("ping", at=1)
        assert await one.receive() == {"type": "pong", "payload": {"at": 1}}


# ---------------------------------------------------------------- what closes the socket

BAD = {
    "no JSON": "{",
    "a list": "[]",
    "no type": "{}",
    "an unknown type": '{"type": "start", "id": "1"}',
    "a message of the server": '{"type": "next", "id": "1", "payload": {}}',
    "a key twice": '{"type": "ping", "type": "pong"}',
    "a payload that is no object": '{"type": "ping", "payload": 1}',
    "no id": '{"type": "subscribe", "payload": {"query": "{ __typename }"}}',
    "a number as id": '{"type": "subscribe", "id": 1, "payload": {"query": "{ __typename }"}}',
    "an empty id": '{"type": "complete", "id": ""}',
    "a long id": '{"type": "complete", "id": "%s"}' % ("x" * 257),
    "no payload": '{"type": "subscribe", "id": "1"}',
    "a query that is no string": '{"type": "subscribe", "id": "1", "payload": {"query": 1}}',
    "variables in a list": '{"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "variables": []}}',
    "a name that is no string": '{"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "operationName": 1}}',
}


@pytest.mark.parametrize("kind", BAD)
async def test_message_that_the_protocol_does_not_have_closes_the_socket(client: Client, kind: str) -> None:
    async with socket(client) as one:
        await one.connection.send(BAD[kind])
        code, reason = await one.closed()
        assert code == 4400
        assert 0 < len(reason.encode()) <= 123


async def test_binary_message_closes_the_socket(client: Client) -> None:
    async with socket(client) as one:
        await one.connection.send(b'{"type": "ping"}')
        assert await one.closed() == (1003, "send text messages, not binary ones")


async def test_subscribe_before_the_ack_closes_the_socket(client: Client) -> None:
    async with socket(client, initialises=False) as one:
        await one.send("subscribe", "1", query="{ __typename }")
        assert (await one.closed())[0] == 4401


async def test_second_init_closes_the_socket(client: Client) -> None:
    async with socket(client) as one:
        await one.send("connection_init")
        assert await one.closed() == (4429, "Too many initialisation requests")


async def test_second_operation_with_the_id_of_a_running_one_closes_the_socket(client: Client) -> None:
    async with socket(client) as one:
        for _ in range(2):
            await one.send("subscribe", "same", query="{ users(first: 1) { totalCount } }")
        assert await one.closed() == (4409, "Subscriber for same already exists")


async def test_socket_that_is_not_initialised_in_time_is_closed(settings: Settings) -> None:
    async with served(settings, socket_init_s=0.2) as client, socket(client, initialises=False) as one:
        await one.send("ping")
        assert await one.closed() == (4408, "the client did not initialise the connection within 0.2 s")


@pytest.mark.parametrize("token", ["Bearer nonsense", "Basic aWRhOnBhc3N3b3Jk", 5, ["a"]])
async def test_init_with_an_invalid_token_closes_the_socket(client: Client, token: object) -> None:
    async with socket(client, initialises=False) as one:
        await one.send("connection_init", authorization=token)
        assert (await one.closed())[0] == 4403


async def test_two_different_tokens_in_an_init_are_refused(client: Client, ida: Person, eve: Person) -> None:
    async with socket(client, initialises=False) as one:
        tokens = {"authorization": f"Bearer {ida.token}", "Authorization": f"Bearer {eve.token}"}
        await one.send("connection_init", **tokens)
        assert (await one.closed())[0] == 4403


@pytest.mark.parametrize("offered", [["graphql-ws"], ["graphql-ws", "other"], []])
async def test_other_subprotocols_are_refused(client: Client, offered: list[str]) -> None:
    names = [Subprotocol(name) for name in offered]
    async with socket(client, initialises=False, subprotocols=names) as one:
        assert await one.closed() == (4406, "the subprotocol should be graphql-transport-ws")


async def test_subprotocol_is_found_among_others(client: Client) -> None:
    names = [Subprotocol("graphql-ws"), Subprotocol("graphql-transport-ws")]
    async with socket(client, subprotocols=names) as one:
        assert one.connection.subprotocol == "graphql-transport-ws"


async def test_close_of_the_client_is_confirmed(client: Client) -> None:
    async with socket(client) as one:
        async with asyncio.timeout(LIMIT_S):
            await one.connection.close(1000)
        assert one.connection.close_code == 1000


async def test_complete_of_an_unknown_operation_is_ignored(client: Client) -> None:
    async with socket(client) as one:
        await one.send("complete", "never")
        assert await one.run("1", "{ __typename }") == {"data": {"__typename": "Query"}}
