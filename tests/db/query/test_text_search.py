"""Text search: how text is folded, which words a text has, what a search means, and which texts it finds."""

import itertools
import sys
import unicodedata
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.connections.leases import Driver
from db.query.text_search import SearchError, folded, search_query
from tests.running.amounts import examples
from tests.running.repeating import Cases

CHARACTERS = [chr(code) for code in range(1, sys.maxunicode + 1) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
STORABLE = st.text(st.characters(exclude_categories=["Cs", "Cn"], exclude_characters="\0"))


async def test_both_sides_fold_every_character_alike(superuser: Driver) -> None:
    rows = await superuser.fetch("SELECT folded_text(given) FROM unnest($1::text[]) AS given", CHARACTERS)
    different = {
        character: (row[0], folded(character))
        for character, row in zip(CHARACTERS, rows, strict=True)
        if row[0] != folded(character)
    }
    assert different == {}
    assert len(CHARACTERS) > 280_000


@settings(max_examples=examples(200))
@given(texts=st.lists(STORABLE, min_size=20, max_size=20))
async def test_both_sides_fold_every_text_alike(superuser: Driver, texts: list[str]) -> None:
    rows = await superuser.fetch("SELECT folded_text(given) FROM unnest($1::text[]) AS given", texts)
    assert [row[0] for row in rows] == list(map(folded, texts))


async def test_letters_that_people_consider_equal_are_folded_to_the_same(superuser: Driver) -> None:
    same = [
        ("École", "ecole"),
        ("e\u0301cole", "école"),
        ("Straße", "STRASSE"),
        ("Ærø", "aero"),
        ("Łódź", "lodz"),
        ("İstanbul ısı", "istanbul isi"),
        ("ΟΔΟΣ", "οδος"),
        ("Ёлка", "елка"),
        ("Ｆｕｌｌ", "full"),
        ("ﬁne x²", "fine x2"),
        ("ｶﾞ", "ガ"),
        ("\u1112\u1161\u11ab", "한"),
        ("שָׁלוֹם", "שלום"),
        ("مُحَمَّد", "محمد"),
        ("soft\u00adhyphen", "softhyphen"),
    ]
    assert [(one, other) for one, other in same if folded(one) != folded(other)] == []
    assert folded("が") != folded("か")  # the mark makes it another letter; it is not an accent


ORDERED = [
    "!",
    "10 things",
    "9 lives",
    "apple",
    "Äpfel",
    "banana",
    "École",
    "ecu",
    "Zebra",
    "Žižek",
    "Ωmega",
    "яблоко",
    "東京",
]


async def test_titles_are_sorted_alphabetically(superuser: Driver) -> None:
    query = 'SELECT given FROM unnest($1::text[]) AS given ORDER BY sort_key(given) COLLATE "C"'
    rows = await superuser.fetch(query, ORDERED[::-1])
    expected = ["!", "10 things", "9 lives", "Äpfel", "apple", *ORDERED[5:]]
    assert [row[0] for row in rows] == expected


FOUND: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    # A text, the searches that find it, and those that do not.
    "L'école à Paris": (["ecole", "école", "ÉCOLE", "e\u0301cole", "l'école", "paris ecole"], ["colle", "lecole"]),
    "e\u0301le\u0300ve": (["élève", "eleve"], ["elevé x"]),
    "AT&T buys T-Mobile": (["AT&T", "at&t", "T-Mobile", "AT&T mobile"], ["AT&X", '"mobile buys"']),
    "I don't know": (["don't", "don’t", "DON'T", "know"], ["can't"]),
    "Servers in node.js": (["node.js", "Node.js servers", "node"], ["node.ts", "js.node"]),
    "See https://example.org/a/b?c=d#e for more": (
        ["https://example.org/a/b?c=d#e", "example.org", "example"],
        ["https://example.com/a/b", "org.example"],
    ),
    "Write to ada@example.org": (["ada@example.org", "ada"], ["ben@example.org"]),
    "To be or not to be": (["To be or not to be", "to be", '"not to be"'], ["being there"]),
    "The Who": (["the who", "The Who"], ["whom it"]),
    "Version 1.2.3-beta of C++ and C#": (["1.2.3", "1.2.3-beta", "c++", "C#"], ["1.2.4", "2.1"]),
    "東京都に行きました": (["東京", "京都", "東京都", "行きました", "東", "た", "東京 行き"], ["大阪", "都京"]),
    "我喜欢iPhone手机": (["喜欢", "iphone", "手机", "iPhone手机", "欢"], ["电脑"]),
    "สวัสดีครับ": (["สวัสดี", "ครับ"], ["ลาก่อน"]),
    "한국어를 배웁니다": (["한국어", "한국", "배웁니다"], ["일본어"]),
    "नमस्ते दुनिया": (["नमस्ते", "दुनिया"], ["शुभ"]),
    "Привет, МИР": (["мир", "ПРИВЕТ"], ["война"]),
    "Καλημέρα ΚΟΣΜΟΣ": (["καλημερα", "κοσμος", "Κόσμος"], ["νυχτα"]),
    "שָׁלוֹם עולם": (["שלום", "עולם"], ["לילה"]),
    "مَرْحَبًا بِالْعَالَم": (["مرحبا", "بالعالم"], ["وداعا"]),
    "ｱｲｳ１２３": (["アイウ", "123"], ["456"]),
    "𠀀𠀁 rare": (["𠀀", "𠀁 rare"], ["𠀂"]),
    "posts about running": (["post", "run", "runs", '"about running"'], ["runner up"]),
    "snake_case and kebab-case": (["snake_case", "kebab case", "snake"], ["case_snake"]),
    "100% sure": (["100%", "100", "sure"], ["10"]),
    "Party 🎉🎉": (["party 🎉", "party"], ["funeral 🎉"]),
}


@pytest.mark.parametrize("text", FOUND)
async def test_text_is_found_by_its_words_as_people_write_them(superuser: Driver, text: str) -> None:
    query = "SELECT text_document('', $1) @@ to_tsquery('folio', $2), text_document($1, '') @@ to_tsquery('folio', $2)"
    answers = {}
    for search in itertools.chain(*FOUND[text]):
        row = await superuser.fetchrow(query, text, search_query(search))
        assert row is not None
        answers[search] = tuple(row)
    assert answers == {search: (place == 0, place == 0) for place in (0, 1) for search in FOUND[text][place]}


WRITTEN: Mapping[str, str | None] = {
    "fox": "'fox'",
    "quick -brown": "'quick' & !('brown')",
    'fox or "a bear" dog': "'fox' | 'a' <-> 'bear' & 'dog'",
    "--amend": "'amend'",
    "-brown the": "'the' & !('brown')",
    "-": None,
    "- - -": None,
    "or": None,
    "": None,
    " \t\n": None,
    "!?": None,
    "🎉": None,
    "the": "'the'",
    "the cat": "'cat'",
    '"the" cat': "'the' & 'cat'",
    "東": "'東':*",
    "東京都": "'東京' & '京都'",
    "it's": "'it' <-> 's'",
}


def test_a_search_is_written_for_postgresql() -> None:
    assert {text: search_query(text) for text in WRITTEN} == WRITTEN


@settings(max_examples=examples(300))
@given(text=st.lists(STORABLE | st.sampled_from([*'"-', "or", " ", "'", "\\", ":*", "&|!()<->", "東京"])).map("".join))
async def test_no_search_text_causes_an_error(superuser: Driver, text: str) -> None:
    try:
        query = search_query(text[:500])
    except SearchError:
        return
    if query is not None:
        await superuser.fetchval("SELECT numnode(to_tsquery('folio', $1))", query)


@settings(max_examples=examples(300))
@given(words=st.lists(st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=12), min_size=1, max_size=6))
async def test_every_text_of_letters_is_found_by_its_whole_and_by_each_word(
    superuser: Driver, words: list[str]
) -> None:
    text = " ".join(words)
    queries = [search_query(one) for one in (*words, f'"{text}"', text)]
    rows = await superuser.fetch(
        "SELECT text_document('', $1) @@ to_tsquery('folio', query) FROM unnest($2::text[]) AS query",
        *(text, [query for query in queries if query is not None]),
    )
    assert [row[0] for row in rows] == [True] * len(rows)


async def test_the_largest_post_of_any_script_can_be_stored(superuser: Driver, cases: Cases) -> None:
    # A tsvector has at most 1 MiB. Pairs of different characters need the most space.
    drawn = cases.random()
    for first, last in ((0x4E00, 0x9FFF), (0x20000, 0x2A6DF), (0xAC00, 0xD7A3), (0x1200, 0x1248), (0x12000, 0x12399)):
        content = "".join(chr(drawn.randint(first, last)) for _ in range(100_000))
        words = " ".join(content[place : place + 2] for place in range(0, 66_666, 2))
        for text in (content, words):
            length = await superuser.fetchval("SELECT length(text_document($1, $2))", text[:200], text[:100_000])
            assert length >= 0
