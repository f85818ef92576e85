"""Instants as text: every form that RFC 3339 allows is read, one form is written.

Read: `T` in either case or one space (the note in section 5.6), a fraction of any length, `Z` in either case or any
offset, and the leap second. Written: UTC with `Z` and always six fraction digits, so that the order of the texts is the
order of the instants. PostgreSQL stores microseconds. Further digits are cut off, never rounded, so that no instant
moves into the next second.
"""

import datetime
import re

INSTANT_WANTED = "should be an RFC 3339 instant with an offset, for example 2026-11-22T09:30:00Z"
_NO_SUCH_INSTANT = f"{INSTANT_WANTED}; there is no such instant in the years 1 to 9999"

_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:)(\d\d)(?:\.(\d+))?(?:[Zz]|([+-](?:[01]\d|2[0-3]):[0-5]\d))", re.ASCII
)
_LEAP_SECOND = "60"
_WITHOUT_OFFSET = len("2026-11-22T09:30:00.000000")


def parse_instant(text: str) -> datetime.datetime:
    """Return the instant that an RFC 3339 text represents, in UTC.

    A leap second becomes the first second of the next month, as in PostgreSQL: neither can represent the difference. It
    may stand only at the end of a month in UTC (section 5.7). Whether that month had a leap second is not checked.

    Raises:
        ValueError: the text is not an instant, or not one that can be stored. The message says what is expected.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise ValueError(INSTANT_WANTED)
    date, hour_and_minute, second, fraction, offset = match.groups()
    is_leap = second == _LEAP_SECOND
    microseconds = (fraction or "")[:6].ljust(6, "0")
    plain = f"{date}T{hour_and_minute}{'59' if is_leap else second}.{microseconds}{offset or '+00:00'}"
    try:
        instant = datetime.datetime.fromisoformat(plain).astimezone(datetime.UTC)
        if is_leap:
            instant += datetime.timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise ValueError(_NO_SUCH_INSTANT) from None
    if is_leap and (instant.day, instant.hour, instant.minute, instant.second) != (1, 0, 0, 0):
        raise ValueError(_NO_SUCH_INSTANT)
    return instant


def write_instant(value: datetime.datetime) -> str:
    """Return an instant in UTC with six fraction digits and `Z`.

    asyncpg returns PostgreSQL's infinities as the first and last instants of Python, without a time zone. They are
    treated as UTC, in any time zone of the process.
    """
    utc = value.astimezone(datetime.UTC) if value.tzinfo else value
    return utc.isoformat(timespec="microseconds")[:_WITHOUT_OFFSET] + "Z"
