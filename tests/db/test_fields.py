"""Visible texts: a title without a visible character is refused."""

import pytest

from db.fields import TITLE


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
