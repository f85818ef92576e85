"""Domain errors that carry data, and the meaning of each violated constraint for a client.

Constraints decide, not a SELECT before the INSERT, because another client may insert between the two. The name of the
violated constraint is looked up in `CONSTRAINTS`, which contains the refusal's code and the input field to blame. A
test walks the metadata and fails on a constraint without an entry.
"""

import copy
from dataclasses import dataclass

import asyncpg


class Refusal(Exception):  # noqa: N818 - an expected answer, not an error
    """A write that was refused for a reason that a client can show or act on. Nothing was written.

    Attributes:
        code: one of the codes of the mutation's own enum in the public schema.
        field: the input field to blame, as a path below the mutation's `input`; empty if there is none.
        message: what is wrong and what is allowed, for people.
    """

    def __init__(self, code: str, field: tuple[str, ...], message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.field = field
        self.message = message

    def below(self, *prefix: str) -> "Refusal":
        """Return the same refusal with its field below `prefix`, for an item of a bulk input."""
        return Refusal(self.code, (*prefix, *self.field), self.message)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a client is told about the violation of one constraint."""

    code: str
    field: tuple[str, ...]
    message: str


# Constraints that only a fault of this program can violate: the input is checked before, or a row lock prevents it.
# Their violation is masked as an internal error, and logged.
INTERNAL = frozenset(
    {
        "pk_users",
        "pk_profiles",
        "pk_posts",
        "pk_accounts",
        "pk_transactions",
        "pk_sessions",
        "pk_refresh_tokens",
        "pk_sign_in_attempts",
        "pk_idempotency_keys",
        "ck_users_role_known",
        "ck_users_version_positive",
        "ck_users_hashed_password_not_empty",
        "uq_users_system",
        "ck_posts_version_positive",
        "ck_posts_views_in_range",
        "fk_profiles_user_id_users",
        "fk_sessions_user_id_users",
        "pk_sign_in_places",
        "pk_failed_sign_ins",
        "fk_sign_in_places_user_id_users",
        "fk_failed_sign_ins_user_id_users",
        "fk_refresh_tokens_session_id_sessions",
        "uq_refresh_tokens_token_hash",
        "uq_idempotency_keys_owner_id_key",
        "ck_idempotency_keys_operation_known",
        "uq_accounts_system_currency_code",
        "ck_accounts_currency_code_three_letters",
        "ck_accounts_balance_not_negative",
        "ck_accounts_balance_within_limit",
        "fk_transactions_from_id_accounts",
        "fk_transactions_to_id_accounts",
        "fk_transactions_key_id_idempotency_keys",
        "uq_transactions_key_id",
        "ck_transactions_amount_positive",
        "ck_transactions_two_accounts",
        "ck_transactions_memo_length",
    }
)

CONSTRAINTS = {
    "uq_users_email_lower": Meaning("EMAIL_TAKEN", ("email",), "another user has this email address"),
    "uq_users_username_lower": Meaning("USERNAME_TAKEN", ("username",), "another user has this username"),
    "ck_users_email_length": Meaning("INVALID_EMAIL", ("email",), "an email address has 3 to 254 characters"),
    "ck_users_username_shape": Meaning(
        "INVALID_USERNAME",
        ("username",),
        "a username has 3 to 32 characters: letters a to z, digits and _, beginning with a letter",
    ),
    "ck_profiles_display_name_length": Meaning(
        "INVALID_PROFILE", ("profile", "displayName"), "a display name has at most 100 characters"
    ),
    "ck_profiles_bio_length": Meaning("INVALID_PROFILE", ("profile", "bio"), "a bio has at most 5000 characters"),
    "ck_profiles_website_url_length": Meaning(
        "INVALID_PROFILE", ("profile", "websiteUrl"), "a website URL has at most 2000 characters"
    ),
    "ck_posts_title_length": Meaning("INVALID_TITLE", ("title",), "a title has 1 to 200 characters"),
    "ck_posts_content_length": Meaning("INVALID_CONTENT", ("content",), "content has at most 100000 characters"),
    "fk_posts_author_id_users": Meaning("AUTHOR_NOT_FOUND", ("authorId",), "no such user"),
    # Only deleting the owner can violate it: opening an account locks the owner first.
    "fk_accounts_owner_id_users": Meaning(
        "USER_OWNS_ACCOUNTS",
        ("id",),
        "the user owns accounts, and the ledger is never cut; deactivate the user instead",
    ),
}


def refusal_for(error: asyncpg.IntegrityConstraintViolationError) -> Refusal | None:
    """Return the meaning of `error` for a client, or None if it can only be a fault of this program."""
    meaning = CONSTRAINTS.get(error.constraint_name or "")
    return None if meaning is None else Refusal(meaning.code, meaning.field, meaning.message)


class SignedOut(Exception):  # noqa: N818 - an expected answer, not an error
    """The caller's user was deleted or deactivated while the request was under way. Nothing was written."""


class Unavailable(Exception):  # noqa: N818 - an expected answer, not an error
    """The database could not answer in time, or at all. Nothing was written, unless `outcome_unknown`.

    Attributes:
        code: `DATABASE_UNAVAILABLE`, `DATABASE_BUSY` or `DATABASE_TIMEOUT`; `OVERLOADED` if the cause is not the
            database.
        outcome_unknown: whether the connection broke during COMMIT, so that the write may or may not have happened.
        reason: the message of the driver, for the log.
    """

    def __init__(self, code: str, message: str, *, outcome_unknown: bool = False, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.outcome_unknown = outcome_unknown
        self.reason = reason

    def copy(self) -> "Unavailable":
        """Return the same refusal for another caller: an exception that is raised twice keeps the frames of both."""
        return Unavailable(self.code, str(self), outcome_unknown=self.outcome_unknown, reason=self.reason)


def copy_of(error: Exception) -> Exception:
    """Return a copy of an error for one more caller, without its traceback.

    An exception that several callers raise keeps the frames of all of them, with the rows in these frames.
    """
    if isinstance(error, Unavailable):
        return error.copy()
    try:
        return copy.copy(error).with_traceback(None)
    except Exception:  # noqa: BLE001 - its constructor needs other arguments
        return RuntimeError(f"{type(error).__name__}: {error}")
