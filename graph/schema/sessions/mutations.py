"""The mutations of sessions: sign in, refresh, sign out."""

import datetime

import strawberry

from db.access import ANONYMOUS
from db.connections.statements import Reader
from db.errors import Refusal
from db.fields import PASSWORD
from db.repositories import sessions as repository
from db.repositories.sessions import Credentials, OpenSession
from db.repositories.sign_ins import PLACE_KEPT_S, Attempt, forget_attempts, signed_in_from
from graph.analysis.cost import PASSWORD as COST_OF_PASSWORD
from graph.runtime.context import Context, Info
from graph.runtime.tokens import Device
from graph.schema.fields import find_node
from graph.schema.ids import NodeKind
from graph.schema.mutation_kit import answer, mutation, mutation_input, payload
from graph.schema.permissions import SIGNED_IN, public
from graph.schema.sessions.sign_ins import attempted, known_device, log_failure, place_of
from graph.schema.users.types import User


@mutation_input
class SignInInput:
    """The credentials of a user."""

    login: str = strawberry.field(description="Username or email.")
    password: str = strawberry.field(description="The password.")
    device_token: str | None = strawberry.field(
        default=None,
        description=(
            "The `deviceToken` of the last `signIn` on this device. With it, the sign-in does not have to "
            "wait because of failed attempts of others behind the same address. An invalid or expired token "
            "is ignored."
        ),
    )


@payload(
    right=public("it is how one signs in"),
    refused="Why a sign-in was refused.",
    codes=("INVALID_CREDENTIALS", "TOO_MANY_ATTEMPTS"),
)
class SignInPayload:
    """The new session, or the reasons why it was refused."""

    access_token: str | None = answer("Bearer token for the Authorization header.")
    refresh_token: str | None = answer("Valid for one `refreshSession`. Keep it secret.")
    expires_at: datetime.datetime | None = answer("When the access token expires.")
    viewer: User | None = answer("The user who has signed in.")
    device_token: str | None = answer(
        "Identifies this device, for 90 days or until the password changes. Keep it, also after signing "
        "out, and send it with the next `signIn`. It gives no access."
    )
    failed_sign_ins: int | None = answer(
        "The number of failed attempts to sign in as this user since the last successful one. Null if "
        "this attempt was refused. Show it to the user, because another person may have made these "
        "attempts."
    )


@mutation_input
class RefreshSessionInput:
    """The session to refresh."""

    refresh_token: str = strawberry.field(description="The newest refresh token of the session.")


@payload(
    right=public("the refresh token stands for the caller; the access token has often expired by then"),
    refused="Why a refresh was refused.",
    codes=("INVALID_REFRESH_TOKEN",),
)
class RefreshSessionPayload:
    """The session with new tokens, or the reasons why it was refused."""

    access_token: str | None = answer("Bearer token for the Authorization header.")
    refresh_token: str | None = answer("The new refresh token. The old one is used up.")
    expires_at: datetime.datetime | None = answer("When the access token expires.")
    viewer: User | None = answer("The user of the session.")


@payload(right=SIGNED_IN)
class SignOutPayload:
    """The confirmation that a session has ended."""

    signed_out: bool = strawberry.field(description="Always true: the tokens of the session are invalid now.")


# ---------------------------------------------------------------- resolvers


async def sign_in(info: Info, input_: SignInInput) -> SignInPayload:
    """Open a session. An unknown user and a wrong password lead to the same steps, time and response."""
    context = info.context
    login = input_.login.strip()
    device = await known_device(context, login, input_.device_token)
    attempt = await attempted(context, login, device)
    found = await repository.credentials_of(context.database, login)
    # Longer passwords cannot have been set, and an attacker could make the server hash megabytes.
    password = input_.password[: PASSWORD.length_max + 1]
    verified = await context.services.passwords.verify(found.hashed_password if found else None, password)
    opened = None
    if found is not None and verified:
        opened = await _opened(context, found, login, attempt)
    if found is None or opened is None:
        log_failure(attempt)
        raise Refusal("INVALID_CREDENTIALS", (), "no active user has this login and password")
    session, failed = opened
    token = _token(context, session)
    return SignInPayload(
        access_token=token[0],
        refresh_token=session.refresh_token,
        expires_at=token[1],
        viewer=await _viewer(info, session),
        device_token=_device_token(context, found, device),
        failed_sign_ins=failed,
    )


async def _opened(context: Context, found: Credentials, login: str, attempt: Attempt) -> tuple[OpenSession, int] | None:
    """Open a session. Return it with the number of failed attempts before, or None if the credentials are outdated."""
    settings = context.services.settings

    async def work(transaction: Reader) -> tuple[OpenSession, int] | None:
        session = await repository.open_session(transaction, found, settings.refresh_token_ttl_s)
        if session is None:
            return None
        await forget_attempts(transaction, login, attempt)
        return session, await signed_in_from(transaction, found.user_id, place_of(settings))

    return await context.write(work)


def _token(context: Context, session: OpenSession) -> tuple[str, datetime.datetime]:
    viewer = session.viewer
    assert viewer.user_id is not None
    assert viewer.session_id is not None
    token = context.services.tokens.sign(viewer.user_id, viewer.session_id)
    return token.text, token.expires_at


def _device_token(context: Context, found: Credentials, known: Device | None) -> str:
    device = known or Device.new(found.user_id, found.hashed_password)
    return context.services.tokens.sign_device(device, PLACE_KEPT_S)


async def _viewer(info: Info, session: OpenSession) -> User | None:
    """Make the user of `session` the viewer, and return this user."""
    info.context.switch_viewer(session.viewer)
    assert session.viewer.user_id is not None
    return await find_node(info, NodeKind.USER, User, session.viewer.user_id)


async def refresh_session(info: Info, input_: RefreshSessionInput) -> RefreshSessionPayload:
    """Exchange a refresh token for new tokens."""
    context = info.context
    ttl_s = context.services.settings.refresh_token_ttl_s
    session = await context.write(
        lambda transaction: repository.refresh_session(transaction, input_.refresh_token, ttl_s)
    )
    if session is None:
        message = "the refresh token is unknown, expired or was used before; sign in again"
        raise Refusal("INVALID_REFRESH_TOKEN", ("refreshToken",), message)
    token = _token(context, session)
    return RefreshSessionPayload(
        access_token=token[0],
        refresh_token=session.refresh_token,
        expires_at=token[1],
        viewer=await _viewer(info, session),
    )


async def sign_out(info: Info) -> SignOutPayload:
    """End the session that carries this request."""
    session_id = info.context.viewer.session_id
    assert session_id is not None
    await info.context.write(lambda transaction: repository.end_session(transaction, session_id))
    info.context.switch_viewer(ANONYMOUS)
    return SignOutPayload(signed_out=True)


@strawberry.type
class SessionMutations:
    """The mutations of sessions."""

    sign_in: SignInPayload = mutation(
        sign_in,
        (
            "Opens a session. After too many failed attempts with one login from one address, each further "
            "attempt must wait longer."
        ),
        COST_OF_PASSWORD,
        takes="The credentials of a user.",
    )
    refresh_session: RefreshSessionPayload = mutation(
        refresh_session,
        "Exchanges a refresh token for new tokens. Send the request without the expired access token.",
        takes="The session to refresh.",
    )
    sign_out: SignOutPayload = mutation(sign_out, "Ends the session of this request immediately.")
