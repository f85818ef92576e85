"""Full-text search: text is folded, split into words, and searched with the syntax of web searches.

Folding removes case, accents and differences of Unicode form, so that "École" and "ecole" are one word with one place
in the alphabet. PostgreSQL folds stored text in generated columns, with functions that a migration creates
(`folded_text`, `searched_words`). Python folds the search text. A test compares both for every character.

A word is found by its stem (PostgreSQL's English stemmer, which hardly changes words of other languages). Stop words
are indexed as well, so that a title of stop words alone is found. In scripts that are written without spaces, each pair
of neighbouring characters is a word, as in the CJK analyzers of Lucene.
"""

import re
import unicodedata
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, SQLColumnExpression, Text, bindparam, cast, func, literal_column

# Removed after decomposition: accents and points, the soft hyphen, invisible joiners, variation selectors.
_MARKS = (
    r"\u00ad\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640"
    r"\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u1ab0-\u1aff\u1dc0-\u1dff\u200b\u2060"
    r"\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\ufeff"
)
# Letters that Unicode does not decompose, although people also write them without their marks.
_SPELLED_OUT = (("ß", "ss"), ("æ", "ae"), ("œ", "oe"), ("þ", "th"))
_PLAIN = str.maketrans("øłđðıς", "olddiσ")  # noqa: RUF001 - a sigma
# Characters between words: punctuation and symbols. PostgreSQL's parser would treat the ASCII ones as parts of host
# names, paths and numbers.
_SEPARATORS = (
    r"!-/:-@[-`{-~\u0080-\u00bf\u00d7\u00f7\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964\u0965\u2000-\u206f\u20a0-\u20cf"
    r"\u2190-\u2bff\u2e00-\u2e7f\u3000-\u3004\u3008-\u3020\u3030\u303d-\u303f\u30a0\u30fb\ufe10-\ufe1f\ufe30-\ufe6f"
    r"\uffe0-\uffff\U0001f000-\U0001fbff"
)
# Thai, Lao, Tibetan, Burmese, Khmer, kana, Chinese characters; Korean, whose words carry their particles.
_UNSPACED = (
    r"\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u4dbf"
    r"\u4e00-\u9fff\uac00-\ud7a3"
)
# Each of the rarer Chinese characters is a word: pairs of four-byte characters could exceed a tsvector's 1 MiB.
_ALONE = r"\U00020000-\U0003ffff"

WORD_LENGTH_MAX = 500

# The stop words of PostgreSQL's English dictionary (tsearch_data/english.stop). Here only queries leave them out.
_STOP_WORDS = frozenset(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it
    its itself they them their theirs themselves what which who whom this that these those am is are was were be been
    being have has had having do does did doing a an the and but if or because as until while of at by for with about
    against between into through during before after above below to from up down in out on off over under again further
    then once here there when where why how all any both each few more most other some such no nor not only own same so
    than too very s t can will just don should now
    """.split()  # noqa: SIM905 - a list of quoted words would be five times as long
)
_MARK = re.compile(f"[{_MARKS}]+")
_SEPARATOR = re.compile(f"[{_SEPARATORS}]+")
_WORD = re.compile(rf"[{_UNSPACED}]+|[{_ALONE}]|[^\s{_UNSPACED}{_ALONE}]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»", '"'))
# One minus sign excludes a word; two begin an option, such as --amend.
_TERM = re.compile(r'(-(?!-))?(?:"([^"]*)"?|([^\s"]+))')


class SearchError(ValueError):
    """A search that is refused. The message is for the client; it continues a sentence after the field's name."""


def folded(text: str) -> str:
    """Return `text` in lower case, without accents, in one Unicode form, as the function `folded_text` does in SQL."""
    decomposed = _MARK.sub("", unicodedata.normalize("NFKD", text))
    lowered = unicodedata.normalize("NFKC", decomposed).lower()
    for letter, spelled in _SPELLED_OUT:
        lowered = lowered.replace(letter, spelled)
    return lowered.translate(_PLAIN)


def search_query(text: str) -> str | None:
    """Return the query of `text` in the syntax of `to_tsquery`, or None if it contains no word.

    The syntax is that of web searches: each word must occur, "words in quotes" must occur one after the other, `or`
    separates alternatives, and a minus sign excludes a word. A word with punctuation inside, such as node.js or an
    address, is a phrase. Stop words count only if there are no other words. Anything that is not a word is ignored.

    Raises:
        SearchError: the search, or one of its alternatives, only excludes words. Nearly all posts would match, and no
            index finds them.
    """
    alternatives = [list[_Term]()]
    for match in _TERM.finditer(folded(text.translate(_QUOTES))):
        minus, phrase, word = match.groups()
        if word == "or" and not minus:
            alternatives.append([])
        elif operands := _operands(word or phrase or ""):
            alternatives[-1].append(_Term(" & ".join(operands), bool(minus), word in _STOP_WORDS))
    return " | ".join(map(_all_of, filter(None, alternatives))) or None


class _Term(NamedTuple):
    """A condition that must hold, or must not, in the syntax of `to_tsquery`."""

    written: str
    is_negated: bool
    is_stop_word: bool


def _all_of(terms: list[_Term]) -> str:
    wanted = [term for term in terms if not term.is_negated]
    if not wanted:
        raise SearchError('should name a word to find; "-word" alone only excludes results')
    significant = [term for term in wanted if not term.is_stop_word]
    left_out = [f"!({term.written})" for term in terms if term.is_negated]
    return " & ".join([*(term.written for term in significant or wanted), *left_out])


def _operands(text: str) -> list[str]:
    """Return the conditions for the occurrence of the folded `text`: phrases, and pairs of characters."""
    operands, phrase = list[str](), list[str]()
    for word in _WORD.findall(_SEPARATOR.sub(" ", text)):
        if not any(map(str.isalnum, word)):
            continue
        if _IS_UNSPACED.match(word):
            operands += [*_phrase(phrase), *_pairs(word)]
            phrase = []
        else:
            phrase.append(f"'{word[:WORD_LENGTH_MAX]}'")
    return [*operands, *_phrase(phrase)]


def _phrase(words: list[str]) -> list[str]:
    return [" <-> ".join(words)] if words else []


def _pairs(run: str) -> list[str]:
    """Return the pairs of neighbours in a run of an unspaced script. A single character becomes a prefix search."""
    if len(run) == 1:
        return [f"'{run}':*"]
    return [f"'{run[place : place + 2]}'" for place in range(len(run) - 1)]


# ---------------------------------------------------------------- in statements

SEARCH = "search"
"""The parameter that holds the result of `search_query`."""

_QUERY = func.to_tsquery(literal_column("'folio'::regconfig"), bindparam(SEARCH, type_=Text))


def matches(document: SQLColumnExpression[Any]) -> ColumnElement[bool]:
    """Return the condition that a column that `text_document` computes matches the search."""
    return document.bool_op("@@")(_QUERY)


def relevance(document: SQLColumnExpression[Any]) -> ColumnElement[int]:
    """Return the relevance of `document`, from 0 to 1,000,000,000. A word in the title counts ten times as much.

    It is an integer, because a cursor must reproduce exactly the compared value. It depends only on the document and
    the search, so that another post changes no position. The measure is `ts_rank`, divided by 1 + ln(length).
    """
    return cast(func.ts_rank(document, _QUERY, 1) * literal_column("1e9::float8"), BigInteger)
