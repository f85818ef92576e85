"""Passwords that everybody knows. Attackers try them first (NIST SP 800-63B, section 5.1.1.2).

Of `zxcvbn` only the list is used, the 30,000 most frequent passwords of its sources. Its estimate is not: 24 characters
that are chosen for it keep a processor busy for a second. The list costs a tenth of a second and 15 MB to import, so it
is imported when the first password is chosen; most processes never see one.
"""

from functools import cache
from itertools import pairwise

# "sunshine1!" is as well known as "sunshine"; more characters behind a word are a part that has to be guessed.
SUFFIX_LENGTH_MAX = 4


@cache
def known_passwords() -> frozenset[str]:
    """Return the list, in lower case. The first call takes a tenth of a second: not on an event loop."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415 - as said

    return frozenset(FREQUENCY_LISTS["passwords"])


def is_known(password: str, length_min: int) -> bool:
    """Say whether everybody knows a password: as it is, as a repetition or sequence, or with little behind it.

    Args:
        password: in any case.
        length_min: what is repeated must be as long as a password has to be.
    """
    repeated = _repeated(password.lower())
    if len(repeated) < min(length_min, len(password)):
        return True
    if len({ord(second) - ord(first) for first, second in pairwise(repeated)}) == 1:
        return True
    word = repeated.rstrip("0123456789!?.,;:_-+*#$%&@ ")
    is_word = len(repeated) - len(word) <= SUFFIX_LENGTH_MAX
    return repeated in known_passwords() or (is_word and word in known_passwords())


def _repeated(text: str) -> str:
    """Return the shortest text that `text` is a repetition of."""
    return text[: (text + text).find(text, 1)]
