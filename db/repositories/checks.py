"""What a user, a profile and a post must look like, checked before the database is asked.

The database's own constraints say the same and have the last word; these checks exist because they find all faults of
an input at once, and in a bulk input the item that has them. What only the database can know (is the name
taken?) is not checked here.
"""

import re
import unicodedata
from collections.abc import Mapping

from email_validator import EmailNotValidError, validate_email
from pydantic import AnyHttpUrl, TypeAdapter, ValidationError

from db.errors import CONSTRAINTS, Refusal
from db.models.posts import CONTENT_LENGTH_MAX, TITLE_LENGTH_MAX
from db.models.users import (
    BIO_LENGTH_MAX,
    DISPLAY_NAME_LENGTH_MAX,
    EMAIL_LENGTH_MAX,
    USERNAME_PATTERN,
    WEBSITE_URL_LENGTH_MAX,
)
from db.repositories.known_passwords import is_known

PASSWORD_LENGTH_MIN = 8
PASSWORD_LENGTH_MAX = 128

# What shows nothing by itself: controls, formats such as the zero-width space, separators, marks without a letter. And
# the letters and the symbol that Unicode counts among the visible although they are drawn empty.
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs", "Mn", "Me"})
_DRAWN_EMPTY = frozenset("\u115f\u1160\u2800\u3164\uffa0")

# A user with such a name could pass for somebody who runs the service. `folio user create` accepts these names.
_RESERVED = """
    abuse account accounts admin administrator administrators admins anonymous api audit auth billing bot contact
    everyone folio graphql guest help helpdesk hostmaster info legal login mail mailer me moderator moderators mod
    news nobody noreply notifications null official operator operators owner postmaster privacy public register root
    sales security service signin signup staff status superuser support sysadmin sysop system team undefined user users
    viewer webmaster
"""
RESERVED_USERNAMES = frozenset(_RESERVED.split())

_USERNAME = re.compile(USERNAME_PATTERN.removeprefix("^").removesuffix("$"), re.ASCII)
_HTTP_URL = TypeAdapter(AnyHttpUrl)
# The parser is lenient as browsers are, and takes "https:x" and "http:\\x" for addresses. What others read is refused.
_SCHEME_AND_HOST = re.compile(r"https?://([^\W_]|\[)", re.IGNORECASE)
_PROFILE_LENGTHS = {
    "display_name": (DISPLAY_NAME_LENGTH_MAX, "ck_profiles_display_name_length"),
    "bio": (BIO_LENGTH_MAX, "ck_profiles_bio_length"),
    "website_url": (WEBSITE_URL_LENGTH_MAX, "ck_profiles_website_url_length"),
}


def _violates(constraint: str) -> Refusal:
    """Return the refusal that violating the constraint would be, so that both ways read the same."""
    meaning = CONSTRAINTS[constraint]
    return Refusal(meaning.code, meaning.field, meaning.message)


def normal_email(email: str) -> str:
    """Return the one spelling of an email address: ASCII, the domain in lower case and IDNA-encoded.

    Raises:
        Refusal: INVALID_EMAIL, with what is wrong.
    """
    try:
        valid = validate_email(email, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError as error:
        raise Refusal("INVALID_EMAIL", ("email",), str(error)) from None
    ascii_email = valid.ascii_email
    if ascii_email is None or len(ascii_email) > EMAIL_LENGTH_MAX:
        raise _violates("ck_users_email_length")
    return ascii_email


def check_username(username: str) -> list[Refusal]:
    """Return what is wrong with a username."""
    return [] if _USERNAME.fullmatch(username) else [_violates("ck_users_username_shape")]


def check_reserved(username: str) -> list[Refusal]:
    """Return a refusal where a username is kept for those who run the service, with `_` in it or without."""
    if username.lower().replace("_", "") not in RESERVED_USERNAMES:
        return []
    return [Refusal("INVALID_USERNAME", ("username",), "this username is reserved; choose another one")]


def check_password(password: str, *names: str) -> list[Refusal]:
    """Return what is wrong with a new password: its length, or that it is easily guessed (NIST SP 800-63B).

    Not on the event loop before `known_passwords` has been called once.

    Args:
        password: the new password.
        names: the user's name and email address, which are tried first, too.
    """
    if not PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX:
        message = f"a password has {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters"
    elif not any(_is_visible(character) for character in password):
        message = "a password has a visible character"
    elif is_known(password, PASSWORD_LENGTH_MIN):
        message = "this password is one of the first that anybody tries; choose another one"
    elif password.lower() in {part for name in names for part in (name.lower(), name.lower().partition("@")[0])}:
        message = "the username or the email address is no password; choose another one"
    else:
        return []
    return [Refusal("INVALID_PASSWORD", ("password",), message)]


def check_profile(profile: Mapping[str, str | None]) -> list[Refusal]:
    """Return what is wrong with the given columns of a profile."""
    refusals = [
        _violates(constraint)
        for name, (length_max, constraint) in _PROFILE_LENGTHS.items()
        if len(profile.get(name) or "") > length_max
    ]
    website_url = profile.get("website_url")
    if website_url is not None and len(website_url) <= WEBSITE_URL_LENGTH_MAX and not _is_http_url(website_url):
        message = "a website URL begins with http:// or https://, for example https://example.org"
        refusals.append(Refusal("INVALID_PROFILE", ("profile", "websiteUrl"), message))
    return refusals


def _is_http_url(text: str) -> bool:
    # Whoever shows the profile will make a link of it: "javascript:" must not get in, nor white space around it.
    if any(character.isspace() or character == "\\" or not character.isprintable() for character in text):
        return False
    if not _SCHEME_AND_HOST.match(text):
        return False
    try:
        _HTTP_URL.validate_python(text)
    except ValidationError:
        return False
    return True


def check_title(title: str) -> list[Refusal]:
    """Return what is wrong with a post's title."""
    ok = len(title) <= TITLE_LENGTH_MAX and any(_is_visible(character) for character in title)
    return [] if ok else [_violates("ck_posts_title_length")]


def _is_visible(character: str) -> bool:
    return character not in _DRAWN_EMPTY and unicodedata.category(character) not in _INVISIBLE_CATEGORIES


def check_content(content: str) -> list[Refusal]:
    """Return what is wrong with a post's content."""
    return [] if len(content) <= CONTENT_LENGTH_MAX else [_violates("ck_posts_content_length")]
