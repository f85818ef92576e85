"""Instants as texts: the valid ones of RFC 3339 with their meaning, invalid ones, and times that no clock shows."""

import datetime

FULL_WIDTH_1 = "\uff11"
ARABIC_1 = "\u0661"

HALF_PAST_NINE = datetime.datetime(2026, 11, 22, 9, 30, tzinfo=datetime.UTC)
NEW_YEAR_2017 = datetime.datetime(2017, 1, 1, tzinfo=datetime.UTC)
INSTANTS = {
    "2026-11-22T09:30:00Z": HALF_PAST_NINE,
    "2026-11-22t09:30:00z": HALF_PAST_NINE,
    "2026-11-22T09:30:00z": HALF_PAST_NINE,
    "2026-11-22 09:30:00Z": HALF_PAST_NINE,
    "2026-11-22 09:30:00.000+00:00": HALF_PAST_NINE,
    "2026-11-22T09:30:00.5Z": HALF_PAST_NINE.replace(microsecond=500_000),
    "2026-11-22T09:30:00.123456Z": HALF_PAST_NINE.replace(microsecond=123_456),
    "2026-11-22T09:30:00.1234567Z": HALF_PAST_NINE.replace(microsecond=123_456),
    "2026-11-22T09:30:00.123456789+00:00": HALF_PAST_NINE.replace(microsecond=123_456),
    "2026-11-22T09:30:00.9999999Z": HALF_PAST_NINE.replace(microsecond=999_999),
    "2026-11-22T09:30:00.0000001Z": HALF_PAST_NINE,
    "2026-11-22T09:30:00." + "0" * 1000 + "9Z": HALF_PAST_NINE,
    "2026-11-22T09:30:00+00:00": HALF_PAST_NINE,
    "2026-11-22T09:30:00-00:00": HALF_PAST_NINE,
    "2026-11-22T15:15:00+05:45": HALF_PAST_NINE,
    "2026-11-22T23:30:00-23:59": datetime.datetime(2026, 11, 23, 23, 29, tzinfo=datetime.UTC),
    "2024-02-29T00:00:00Z": datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC),
    "2016-12-31T23:59:60Z": NEW_YEAR_2017,
    "2016-12-31T23:59:60.25Z": NEW_YEAR_2017.replace(microsecond=250_000),
    "2016-12-31T15:59:60-08:00": NEW_YEAR_2017,
    "2017-01-01T05:44:60+05:45": NEW_YEAR_2017,
    "0001-01-01T00:00:00Z": datetime.datetime(1, 1, 1, tzinfo=datetime.UTC),
    "9999-12-31T23:59:59.999999Z": datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=datetime.UTC),
}
NO_INSTANTS = [
    "",
    "now",
    "infinity",
    "2026-11-22",
    "2026-11-22T09:30:00",
    "2026-11-22T09:30Z",
    "2026-11-22T09Z",
    "2026-11-22_09:30:00Z",
    "2026-11-22  09:30:00Z",
    "2026-11-22\u00a009:30:00Z",
    "2026-11-2209:30:00Z",
    "2026-11-22T09:30:00ZZ",
    "2026-11-22T09:30:00 Z",
    " 2026-11-22T09:30:00Z",
    "2026-11-22T09:30:00Z\n",
    "20261122T093000Z",
    "2026-W47-7T09:30:00Z",
    "2026-326T09:30:00Z",
    "10000-01-01T00:00:00Z",
    "-2026-01-01T00:00:00Z",
    "+2026-01-01T00:00:00Z",
    "2026-11-22T09:30:00+24:00",
    "2026-11-22T09:30:00+00:60",
    "2026-11-22T09:30:00+01",
    "2026-11-22T09:30:00+0100",
    "2026-11-22T09:30:00+01:00:00",
    "2026-11-22T09:30:00[UTC]",
    "2026-11-22T09:30:00Z[UTC]",
    "2026-11-22T09:30:00.Z",
    "2026-11-22T09:30:00,5Z",
    "2026-11-22T09:30:00.5 Z",
    f"202{FULL_WIDTH_1}-11-22T09:30:00Z",
    f"2026-11-22T09:30:00.{ARABIC_1}Z",
    "1795339800",
]
NO_SUCH_INSTANTS = [
    "2026-11-22T24:00:00Z",
    "2026-11-22T09:60:00Z",
    "2026-11-22T09:30:61Z",
    "2026-02-29T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-00-01T00:00:00Z",
    "2026-01-00T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    "2026-11-22T09:30:60Z",  # a leap second is always the last second of a month
    "2016-12-30T23:59:60Z",
    "2016-12-31T23:59:60+01:00",
    "2016-12-31T23:58:60Z",
    "9999-12-31T23:59:60Z",
]

WANTED_INSTANT = "should be an RFC 3339 instant with an offset, for example 2026-11-22T09:30:00Z"
NO_SUCH_INSTANT = WANTED_INSTANT + "; there is no such instant in the years 1 to 9999"
