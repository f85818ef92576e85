"""All clients: what each one owns at the start, and their actions during the soak test."""

import asyncio
import random
from collections.abc import Sequence

from bench.soak import endgame, writes
from bench.soak.clients import Client
from bench.soak.faults import Faults
from bench.soak.journal import Journal, Movement, Post
from bench.soak.oracle import Judged, Oracle
from bench.soak.world import World

CLIENTS = 64
ACCOUNTS_EACH = 2
FIRST_DEPOSIT = "1000.00"
PAUSE_MAX_S = 0.05
# The actions of a client, with their relative frequencies.
ACTIONS = {"read": 44, "fresh": 14, "failing": 6, "transfer": 16, "update": 12, "create": 4, "replay": 4}


async def settled_in(world: World, oracle: Oracle, journal: Journal, seed: int) -> list[Client]:
    """Make accounts with money in them and a post for each client, over HTTP, and return the clients."""
    banker = Client(world, oracle, journal, world.admin, random.Random(0))  # noqa: S311 - no secret
    clients = [
        Client(world, oracle, journal, world.users[n % len(world.users)], random.Random(f"{seed} {n}"))  # noqa: S311 - no secret
        for n in range(CLIENTS)
    ]
    for client in clients[: len(world.users)]:
        for _ in range(ACCOUNTS_EACH):
            response = await client.request(writes.OPEN, "Open", {"input": {"currencyCode": "EUR"}}, may_abort=False)
            client.user.accounts.append(_required(response)["openAccount"]["account"]["id"])
            one = Movement(world.admin, None, client.user.accounts[-1], FIRST_DEPOSIT, "the first money")
            journal.movements.append(one)
            await writes.attempt(banker, one, may_abort=False)
    for number, client in enumerate(clients):
        post = Post("", client.user, f"post {number}", published=number // len(world.users) % 2 == 0)
        wanted = {**post.texts(1), "published": post.published}
        response = await client.request(writes.CREATE, "Create", {"input": wanted}, may_abort=False)
        post.id = _required(response)["createPost"]["post"]["id"]
        journal.posts.append(post)
        client.post = post
    return [*clients, banker]


def _required(judged: Judged | None) -> dict[str, dict[str, dict[str, str]]]:
    if judged is None or judged.data is None:
        raise RuntimeError("the server does not respond before the first fault; its log says why")
    return dict(judged.data)


async def driven(
    world: World, clients: Sequence[Client], faults: Faults | None, memory: endgame.Memory, seconds: float
) -> None:
    """Run all clients and faults for `seconds`."""
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for client in clients:
            if client.user is not world.admin:
                group.create_task(live(client, stopping))
        group.create_task(memory.watch(world, stopping))
        if faults is not None:
            group.create_task(faults.happen(stopping))
        await asyncio.sleep(seconds)
        stopping.set()


async def live(client: Client, stopping: asyncio.Event) -> None:
    """Run random actions of a client, one after another, until `stopping` is set."""
    try:
        while not stopping.is_set():
            action = client.rng.choices(list(ACTIONS), list(ACTIONS.values()))[0]
            await _act(client, action, stopping)
            client.oracle.counts[action] += 1
            await asyncio.sleep(client.rng.random() * PAUSE_MAX_S)
    finally:
        client.close()


async def _act(client: Client, action: str, stopping: asyncio.Event) -> None:
    match action:
        case "transfer":
            await writes.transfer(client, client.drawn_movement(), stopping)
        case "update":
            await writes.update(client)
        case "create":
            await writes.create(client)
        case "replay":
            await writes.replay(client)
        case _:
            is_fresh = action == "fresh" or (action == "failing" and client.rng.getrandbits(1) == 1)
            await client.read(is_fresh=is_fresh, failing=action == "failing")
