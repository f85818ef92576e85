"""What each violated constraint means to a client.

Constraints decide, not a SELECT before the INSERT: another client may insert between the two. `CONSTRAINTS` maps the
name of a violated constraint to the refusal's code and the invalid input field. The entries for texts follow from
their specification. A test walks the metadata and fails on a constraint without an entry.
"""

from collections.abc import Mapping

import asyncpg

from db.errors import Refusal
from db.fields import STORED

# Constraints that only a bug of Folio can violate, besides those of `is_internal`: the input is checked before, or a
# row lock prevents it. A violation is logged and masked as an internal error.
INTERNAL = frozenset(
    {
        "ck_users_role_known",
        "ck_users_hashed_password_not_empty",
        "uq_users_system",
        "ck_posts_views_in_range",
        "fk_profiles_user_id_users",
        "fk_sessions_user_id_users",
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
        "ck_events_topic_known",
        "ck_swept_events_only_row",
    }
)


def is_internal(constraint: str) -> bool:
    """Return whether only a bug of Folio can violate a constraint. No client writes primary keys and versions."""
    return constraint in INTERNAL or constraint.startswith("pk_") or constraint.endswith("_version_positive")


CONSTRAINTS: Mapping[str, Refusal] = {
    **{one.constraint: one.refusal for one in STORED.values() if not is_internal(one.constraint)},
    "uq_users_email_lower": Refusal("EMAIL_TAKEN", ("email",), "another user has this email address"),
    "uq_users_username_lower": Refusal("USERNAME_TAKEN", ("username",), "another user has this username"),
    "fk_posts_author_id_users": Refusal("AUTHOR_NOT_FOUND", ("authorId",), "no such user"),
    "fk_comments_author_id_users": Refusal("AUTHOR_NOT_FOUND", ("authorId",), "no such user"),
    "fk_comments_post_id_posts": Refusal("NOT_FOUND", ("postId",), "no such post"),
    # Only deleting the owner can violate this: opening an account locks the owner first.
    "fk_accounts_owner_id_users": Refusal(
        "USER_OWNS_ACCOUNTS",
        ("id",),
        "the user owns accounts, which are never deleted; deactivate the user instead",
    ),
}


def violation_of(constraint: str) -> Refusal:
    """Return the refusal for a violation of the constraint, so that a check before the write refuses in the same words.

    Raises:
        KeyError: only a bug of Folio can violate the constraint.
    """
    return CONSTRAINTS[constraint].below()  # a copy: an exception that is raised twice keeps the frames of both


def refusal_for(error: asyncpg.IntegrityConstraintViolationError) -> Refusal | None:
    """Return the refusal for `error`, or None if only a bug of Folio can cause it."""
    name = error.constraint_name or ""
    return violation_of(name) if name in CONSTRAINTS else None
