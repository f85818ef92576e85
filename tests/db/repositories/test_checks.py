"""Which texts can be seen: a title that shows nothing is no title."""

import pytest

from db.repositories.checks import check_title


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
def test_title_that_nobody_can_see_is_refused(title: str) -> None:
    assert [(one.code, one.field) for one in check_title(title)] == [("INVALID_TITLE", ("title",))]


@pytest.mark.parametrize(
    "title",
    [
        ".",
        "\N{ZERO WIDTH SPACE}x",
        "e\N{COMBINING ACUTE ACCENT}",
        "\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}",
        "\N{HEBREW LETTER ALEF}",
        "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}",
        "\U000e0fff\ue000",  # for private use: a font may show something
    ],
)
def test_title_with_something_to_see_is_taken(title: str) -> None:
    assert check_title(title) == []
