# ruff: noqa: INP001, T201 - a script, whose purpose is to print
"""Signs in, pages through posts, creates a post and moves money, with the client that `ariadne-codegen` writes.

What a mutation refuses is no exception: it is data, in the payload's `user_errors`.
"""

import asyncio
import os
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar, assert_never

import httpx
from folio_client import (
    AccountWithBalance,
    Client,
    CreatePostErrorCode,
    CreatePostInput,
    GraphQLClientGraphQLMultiError,
    GraphQLClientHttpError,
    OpenAccountInput,
    PostFilter,
    PostWithAuthor,
    SignInErrorCode,
    SignInInput,
    TransferErrorCode,
    TransferInput,
    TransferTransfer,
)
from folio_client.async_base_client import Response

T = TypeVar("T")

URL = os.environ.get("EXAMPLE_URL", "http://127.0.0.1:8000/graphql")
LOGIN = os.environ.get("EXAMPLE_LOGIN", "ada")
PASSWORD = os.environ.get("EXAMPLE_PASSWORD", "folio demo")
CURRENCY = "EUR"
AMOUNT = Decimal("12.50")
PAGES = 2
PAGE_SIZE = 3

ATTEMPTS_MAX = 5
TRANSIENT_STATUSES = {502, 503, 504}
TRANSIENT_CODES = {"DATABASE_BUSY", "DATABASE_TIMEOUT", "DATABASE_UNAVAILABLE"}


# ---------------------------------------------------------------- sending again


async def until_answered(send: Callable[[], Awaitable[T]]) -> T:
    """Call `send` until there is an answer.

    After a lost answer nobody knows whether the server did the work, so this is for queries, and for mutations whose
    variables carry an idempotency key, the same one each time.
    """
    for attempt in range(1, ATTEMPTS_MAX):
        try:
            return await send()
        except (httpx.TransportError, GraphQLClientHttpError, GraphQLClientGraphQLMultiError) as error:
            if not is_transient(error):
                raise
        await asyncio.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311 - it spreads load and hides nothing
    return await send()


def is_transient(error: Exception) -> bool:
    """Say whether the failure may pass by itself."""
    if isinstance(error, GraphQLClientHttpError):
        return error.status_code in TRANSIENT_STATUSES
    if isinstance(error, GraphQLClientGraphQLMultiError):
        return any((each.extensions or {}).get("code") in TRANSIENT_CODES for each in error.errors)
    return isinstance(error, httpx.TransportError)


class UnreliableClient(Client):
    """A client that on demand loses an answer on its way back, when the server has done the work."""

    lose_next = False

    async def execute(self, *args: Any, **kwargs: Any) -> Response:
        """Send one operation."""
        response = await super().execute(*args, **kwargs)
        if self.lose_next:
            self.lose_next = False
            print("the answer was lost")
            raise httpx.ReadError("connection reset")
        return response


# ---------------------------------------------------------------- refusals


# A code that is new in the schema fails the type check at `assert_never`. At run time a code that the generated client
# does not know is a pydantic.ValidationError: generate again when the schema has changed.


def sign_in_advice(code: SignInErrorCode, message: str) -> str:
    """Say what to do about a refused sign-in."""
    match code:
        case SignInErrorCode.INVALID_CREDENTIALS:
            return "wrong name or password"
        case SignInErrorCode.TOO_MANY_ATTEMPTS:
            return message
        case _:
            assert_never(code)


def create_post_advice(code: CreatePostErrorCode, message: str) -> str:
    """Say what to do about a refused post."""
    match code:
        case CreatePostErrorCode.INVALID_TITLE | CreatePostErrorCode.INVALID_CONTENT:
            return f"change the text: {message}"
        case CreatePostErrorCode.AUTHOR_NOT_FOUND:
            return "write as yourself"
        case _:
            assert_never(code)


def transfer_advice(code: TransferErrorCode, message: str) -> str:
    """Say what to do about a refused transfer."""
    refused = TransferErrorCode
    match code:
        case refused.INSUFFICIENT_FUNDS | refused.BALANCE_LIMIT_EXCEEDED | refused.INVALID_AMOUNT:
            return f"choose another amount: {message}"
        case refused.ACCOUNT_NOT_FOUND | refused.SAME_ACCOUNT | refused.CURRENCY_MISMATCH:
            return f"choose another account: {message}"
        case refused.INVALID_MEMO:
            return f"shorten the memo: {message}"
        case refused.IDEMPOTENCY_KEY_REUSED:
            # Nothing that a person did: the program gave one key to two transfers.
            raise RuntimeError(message)
        case _:
            assert_never(code)


# ---------------------------------------------------------------- what the example does


async def sign_in() -> str:
    """Open a session and return its access token."""
    async with Client(url=URL) as client:
        answer = (await client.sign_in(SignInInput(login=LOGIN, password=PASSWORD))).sign_in
    for refusal in answer.user_errors:
        raise SystemExit(sign_in_advice(refusal.code, refusal.message))
    assert answer.viewer
    assert answer.access_token
    print(f"signed in as {answer.viewer.username} until {answer.expires_at}")
    return answer.access_token


async def pages_of_posts(client: Client, first: int, filter_: PostFilter) -> AsyncIterator[list[PostWithAuthor]]:
    """Yield page after page, each asked for only when it is wanted."""
    after: str | None = None
    while True:
        posts = (await until_answered(partial(client.posts_page, first, after, filter_))).posts
        yield posts.nodes
        if not posts.page_info.has_next_page:
            return
        after = posts.page_info.end_cursor


async def show_posts(client: Client) -> None:
    """Show the first few posts, newest first."""
    number = 0
    async for posts in pages_of_posts(client, PAGE_SIZE, PostFilter(published=True)):
        number += 1
        for post in posts:
            author = post.author.profile.display_name if post.author.profile else None
            print(f'page {number}: "{post.title}" by {author or post.author.username}')
        if number == PAGES:
            return


async def create_draft(client: Client, title: str) -> None:
    """Create a post once: without an idempotency key, a second attempt might create a second post."""
    draft = CreatePostInput(title=title, content="Every field of this was checked before it was sent.")
    answer = (await client.create_post(draft)).create_post
    for refusal in answer.user_errors:
        advice = create_post_advice(refusal.code, refusal.message)
        print(f"refused, {refusal.code.value} at {'.'.join(refusal.field or [])}: {advice}")
    if answer.post:
        print(f"created the draft {answer.post.id} at {answer.post.created_at}")


async def two_accounts(client: Client) -> list[AccountWithBalance]:
    """Return two accounts of the viewer's own in one currency, the fuller one first; open them where there are none."""
    viewer = (await until_answered(client.my_accounts)).viewer
    assert viewer
    accounts: list[AccountWithBalance] = [one for one in viewer.accounts.nodes if one.currency_code == CURRENCY]
    for _ in range(2 - len(accounts)):
        opened = (await client.open_account(OpenAccountInput(currency_code=CURRENCY))).open_account
        if opened.account is None:
            raise SystemExit(opened.user_errors[0].message)
        accounts.append(opened.account)
    return sorted(accounts, key=balance, reverse=True)[:2]


def balance(account: AccountWithBalance) -> Decimal:
    """Return what an account of the viewer's own holds."""
    assert account.balance
    return account.balance.amount


async def transfer(client: Client, transfer_input: TransferInput) -> TransferTransfer:
    """Move money once, however often it has to be asked for. `replayed`: an earlier attempt had come through."""
    answer = (await until_answered(partial(client.transfer, transfer_input))).transfer
    for refusal in answer.user_errors:
        advice = transfer_advice(refusal.code, refusal.message)
        print(f"refused, {refusal.code.value} at {'.'.join(refusal.field or [])}: {advice}")
    return answer


async def move_money(client: UnreliableClient) -> None:
    """Move money between two accounts, over a connection that loses the first answer."""
    source, target = await two_accounts(client)
    transfer_input = TransferInput(
        from_account_id=source.id,
        to_account_id=target.id,
        amount=AMOUNT,
        memo="savings",
        # Made when the user decides on the transfer, and kept with it for as long as its outcome is unknown.
        idempotency_key=uuid.uuid4(),
    )
    client.lose_next = True
    first = await transfer(client, transfer_input)
    made = first.transaction
    if made is None:
        return
    print(f"{made.id} moved {made.amount.amount} {made.amount.currency_code}; replayed: {first.replayed}")
    print(f"{source.id}: {balance(source)} -> {balance(made.from_)}")
    print(f"{target.id}: {balance(target)} -> {balance(made.to)}")
    assert first.replayed
    assert (balance(made.from_), balance(made.to)) == (balance(source) - AMOUNT, balance(target) + AMOUNT)

    again = await transfer(client, transfer_input)
    assert again.transaction
    print(f"sent again: {again.transaction.id}; replayed: {again.replayed}")
    assert again == first

    # The key's outcome is final, a refusal too: whoever tries again with another amount makes a new key.
    changes = {"amount": Decimal("99999999.00"), "idempotency_key": uuid.uuid4()}
    await transfer(client, transfer_input.model_copy(update=changes))


async def main() -> None:
    """Do it all, one after the other."""
    headers = {"authorization": f"Bearer {await sign_in()}"}
    async with UnreliableClient(url=URL, headers=headers) as client:
        await show_posts(client)
        await create_draft(client, "Written by a typed client")
        await create_draft(client, "   ")
        await move_money(client)


if __name__ == "__main__":
    asyncio.run(main())
