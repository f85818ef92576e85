"""The specifications of texts agree with the database; a title without a visible character is refused."""

import pytest
from sqlalchemy import Text

from db.connections.leases import Driver
from db.fields import STORED, TITLE, WEBSITE_URL, TextField
from db.models import Model


@pytest.mark.parametrize(
    "title",
    [
        "\N{ZERO WIDTH SPACE}",
        "\N{SOFT HYPHEN}\N{WORD JOINER}\N{ZERO WIDTH NO-BREAK SPACE}",
        "\x01\x7f",
        "\N{RIGHT-TO-LEFT OVERRIDE} \N{IDEOGRAPHIC SPACE}",
        "\N{LINE SEPARATOR}",
        "\N{HANGUL FILLER}\N{HALFWIDTH HANGUL FILLER}\N{HANGUL CHOSEONG FILLER}\N{HANGUL JUNGSEONG FILLER}",
        "\N{BRAILLE PATTERN BLANK}",
        "\N{VARIATION SELECTOR-16}\N{COMBINING GRAPHEME JOINER}",
    ],
)
def test_invisible_title_is_refused(title: str) -> None:
    assert [(one.code, one.field) for one in TITLE.check(title)] == [("INVALID_TITLE", ("title",))]


@pytest.mark.parametrize(
    "title",
    [
        ".",
        "\N{ZERO WIDTH SPACE}x",
        "e\N{COMBINING ACUTE ACCENT}",
        "\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}",
        "\N{HEBREW LETTER ALEF}",
        "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}",
        "\U000e0fff\ue000",  # private use: a font may show something
    ],
)
def test_title_with_a_visible_character_is_accepted(title: str) -> None:
    assert TITLE.check(title) == []


# ---------------------------------------------------------------- a specification and the database say the same


def edges_of(field: TextField) -> list[str]:
    """Return texts as long as a text may be, and one character shorter and one longer; of several bytes each, too."""
    letters = "a" if field.pattern or field is WEBSITE_URL else "a\N{GRINNING FACE}"
    lengths = {field.length_min - 1, field.length_min, field.length_max, field.length_max + 1} - {-1}
    return [letter * length for letter in letters for length in sorted(lengths)]


@pytest.mark.parametrize("field", STORED.values(), ids=STORED)
async def test_table_accepts_exactly_the_values_of_its_specification(field: TextField, superuser: Driver) -> None:
    check = str(field.check_constraint().sqltext)
    odd = ["ab1", "a_b", "1ab", "_ab", "a-b", "a\nb", "abc\n", "äbc", "ab\N{KELVIN SIGN}"] if field.pattern else []
    for text in [*edges_of(field), *odd]:
        table = await superuser.fetchval(f"SELECT {check} FROM (SELECT $1::text) AS given({field.name})", text)  # noqa: S608
        says = [refusal.message for refusal in field.check(text)]
        of_length = says == [] or says != [field.message]
        assert of_length == table, (text[:40], len(text))


@pytest.mark.parametrize("field", STORED.values(), ids=STORED)
def test_specification_words_its_limit_and_refuses_null_where_it_is_no_value(field: TextField) -> None:
    assert str(field.length_max) in field.message.replace(",", "")
    assert f"{field.length_max:,}" in field.description
    assert not field.description[0].islower()
    assert field.description.endswith(".")
    [*refused] = field.check(None)
    assert [(one.code, one.field) for one in refused] == ([] if field.is_nullable else [(field.code, field.path)])


def test_every_text_column_that_clients_write_has_a_specification() -> None:
    texts = {
        str(column)
        for table in Model.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, Text) and column.computed is None
    }
    # Texts that users do not write: set by the system, or one of a few words.
    others = {
        "users.hashed_password",
        "users.role",
        "accounts.currency_code",
        "idempotency_keys.operation",
        "events.topic",
    }
    refusals = {f"idempotency_keys.refusal_{part}" for part in ("code", "field", "message")}
    assert sorted(texts - STORED.keys() - others - refusals) == [], (
        "say in db/fields.py, by a TextField with this column, what such a text may be"
    )
    assert sorted(STORED.keys() - texts) == []


def test_nullable_is_what_the_column_is() -> None:
    tables = Model.metadata.tables
    for name, field in STORED.items():
        table, _, column = name.partition(".")
        assert tables[table].columns[column].nullable is field.is_nullable, name
        assert field.constraint in {str(one.name) for one in tables[table].constraints}, (
            f"name checks_of({table!r}) in the __table_args__ of its model"
        )
