"""Checks that need more than a limit: email addresses, reserved usernames, passwords that are easily guessed.

The limits are in `db.fields`. Both kinds of checks run before the write. The constraints of the database decide, but
these checks find all faults of an input at once, and in a bulk input the items that have them. Conditions that only the
database can check (is the name taken?) are not here.
"""

from email_validator import EmailNotValidError, validate_email

from db.errors import Refusal
from db.fields import EMAIL, PASSWORD, USERNAME, is_visible
from db.repositories.known_passwords import is_known

# A user with such a name could pretend to run the service. `folio user create` accepts these names.
_RESERVED = """
    abuse account accounts admin administrator administrators admins anonymous api audit auth billing bot contact
    everyone folio graphql guest help helpdesk hostmaster info legal login mail mailer me moderator moderators mod
    news nobody noreply notifications null official operator operators owner postmaster privacy public register root
    sales security service signin signup staff status superuser support sysadmin sysop system team undefined user users
    viewer webmaster
"""
RESERVED_USERNAMES = frozenset(_RESERVED.split())


def normal_email(email: str) -> str:
    """Return the one spelling of an email address: ASCII, the domain in lower case and IDNA-encoded.

    Raises:
        Refusal: INVALID_EMAIL, with the reason.
    """
    try:
        valid = validate_email(email, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError as error:
        raise Refusal(EMAIL.code, EMAIL.path, str(error)) from None
    if valid.ascii_email is None or EMAIL.check(valid.ascii_email):
        raise EMAIL.refusal
    return valid.ascii_email


def check_email(email: str | None) -> list[Refusal]:
    """Return the refusal of an invalid email address in a list, or an empty list."""
    if email is None:
        return EMAIL.check(email)
    try:
        normal_email(email)
    except Refusal as refusal:
        return [refusal]
    return []


def check_reserved(username: str) -> list[Refusal]:
    """Return the refusal of a username that is reserved for operators of the service, with or without `_` in it."""
    if username.lower().replace("_", "") not in RESERVED_USERNAMES:
        return []
    return [Refusal(USERNAME.code, USERNAME.path, "this username is reserved; choose another one")]


def check_password(password: str, *names: str) -> list[Refusal]:
    """Return the refusals of a new password with a wrong length, or that is easily guessed (NIST SP 800-63B).

    Do not call it on the event loop before `known_passwords` was called once. `names` are the user's name and email
    address, which attackers try first, too.
    """
    if refusals := PASSWORD.check(password):
        return refusals
    if not is_visible(password):
        message = "a password has a visible character"
    elif is_known(password, PASSWORD.length_min):
        message = "this password is well known, and therefore guessed first; choose another one"
    elif password.lower() in {part for name in names for part in (name.lower(), name.lower().partition("@")[0])}:
        message = "the password must differ from the username and the email address; choose another one"
    else:
        return []
    return [Refusal(PASSWORD.code, PASSWORD.path, message)]
