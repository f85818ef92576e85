"""Well-known passwords. Attackers try them first (NIST SP 800-63B, section 5.1.1.2).

Only the list of `zxcvbn` is used: the 30,000 most frequent passwords of its sources. Its estimate is not used, because
an attacker can choose 24 characters that keep a processor busy for a second. To import the list takes a tenth of a
second and 15 MB, so it is imported when the first password is chosen. Most processes never need it.
"""

from functools import cache
from itertools import pairwise

# "sunshine1!" is as well known as "sunshine". More characters behind a word have to be guessed.
SUFFIX_LENGTH_MAX = 4


@cache
def known_passwords() -> frozenset[str]:
    """Return the list, in lower case. The first call takes a tenth of a second: not on an event loop."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415 - it takes a tenth of a second

    return frozenset(FREQUENCY_LISTS["passwords"])


def is_known(password: str, length_min: int) -> bool:
    """Return whether a password is well known, a repetition, a sequence, or a well-known one with a short suffix.

    A repetition is refused if its repeated part is shorter than a password may be, which is `length_min` characters.
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
