"""One line of JSON Lines: every error is named by the line's number and the field."""

import pytest

from db.bulk.line_fields import LineError, parse_line
from tests.db.support.json_lines import BAD_LINES, BEN, line
from tests.instants import INSTANTS, NO_INSTANTS, NO_SUCH_INSTANT, NO_SUCH_INSTANTS, WANTED_INSTANT


@pytest.mark.parametrize(("bad", "field", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_bad_line_is_named_by_number_and_field(bad: bytes, field: str | None, message: str) -> None:
    with pytest.raises(LineError) as refusal:
        parse_line(3, bad.removesuffix(b"\n"))
    assert (refusal.value.number, refusal.value.field, refusal.value.message) == (3, field, message)
    where = "line 3" if field is None else f'line 3: field "{field}"'
    assert str(refusal.value) == f"{where}: {message}"


def test_instant_of_a_line_is_read_as_the_api_reads_it() -> None:
    read = {text: parse_line(1, line(BEN, createdAt=text)).values["created_at"] for text in INSTANTS}
    assert read == INSTANTS
    for texts, message in ((NO_INSTANTS, WANTED_INSTANT), (NO_SUCH_INSTANTS, NO_SUCH_INSTANT)):
        for text in texts:
            with pytest.raises(LineError) as refusal:
                parse_line(1, line(BEN, createdAt=text))
            assert (refusal.value.field, refusal.value.message) == ("createdAt", message), text
