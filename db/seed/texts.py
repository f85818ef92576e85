"""The texts of seeded data, made from `db.seed.words`: titles, posts, comments, bios and people's names.

Invariants: the same random numbers make the same text on every machine, and every text fits into its column, because
the lengths of the sentences are bounded. Each post has one topic, so that a search for words of the topic finds texts
about it. Names, places and years are rarer, and narrow a search further.
"""

import unicodedata
from collections.abc import Sequence
from functools import cached_property
from math import gcd
from random import Random
from typing import TypeVar

from db.seed.words import (
    ANYWHERE,
    BIOS,
    FIRST_NAMES,
    FOUNDERS,
    LAST_NAMES,
    SENTENCES,
    TITLES,
    TOPICS,
    Topic,
)

# The smallest number of the shortest sentences has 243 characters, the largest of the longest 2,965, with separators.
SENTENCE_LENGTH_MIN, SENTENCE_LENGTH_MAX = 60, 140
SENTENCES_MIN, SENTENCES_MAX = 4, 21
_SENTENCES_SURPLUS_MEAN = 5.0
_PARAGRAPH_SENTENCES = 4
_VARIANTS = 20

T = TypeVar("T")


class Words(dict[str, str]):
    """The values of the placeholders in a template. Each is drawn when the template uses it."""

    def __init__(self, topic: Topic, random: Random) -> None:
        super().__init__()
        self._random = random
        self._lists: dict[str, Sequence[str]] = {
            "subject": (topic.subject,),
            "noun": topic.nouns,
            "plurals": topic.plurals,
            "doing": topic.doings,
            "quality": topic.qualities,
            **ANYWHERE,
        }

    def __missing__(self, place: str) -> str:
        return drawn(self._random, self._lists[place])

    def fill(self, template: str) -> str:
        """Return the template with its placeholders filled and a capital first letter."""
        sentence = template.format_map(self)
        return sentence[0].upper() + sentence[1:]


class Author:
    """Writes posts, comments and bios about any topic, with one source of random numbers."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._words = [Words(topic, random) for topic in TOPICS]

    @cached_property
    def _variants(self) -> list[list[list[str]]]:
        # For each topic, for each template. To fill a template again for each sentence of each post would take several
        # times as long as the rest of a post.
        return [[_variants(words, template) for template in SENTENCES] for words in self._words]

    def post(self) -> tuple[str, str]:
        """Return the title and the content of one post."""
        random = self._random.random
        topic = int(random() * len(TOPICS))
        title = self._words[topic].fill(drawn(self._random, TITLES))
        surplus = int(self._random.expovariate(1 / _SENTENCES_SURPLUS_MEAN))
        count = min(SENTENCES_MIN + surplus, SENTENCES_MAX)
        # The number of templates is prime: whatever the step, no post uses a template twice.
        at, step = int(random() * len(SENTENCES)), 1 + int(random() * (len(SENTENCES) - 1))
        templates = self._variants[topic]
        sentences = [
            templates[(at + index * step) % len(SENTENCES)][int(random() * _VARIANTS)] for index in range(count)
        ]
        paragraphs = range(0, count, _PARAGRAPH_SENTENCES)
        return title, "\n\n".join(" ".join(sentences[first : first + _PARAGRAPH_SENTENCES]) for first in paragraphs)

    def comment(self) -> str:
        """Return a comment of one sentence."""
        return drawn(self._random, drawn(self._random, drawn(self._random, self._variants)))

    def bio(self) -> str:
        """Return a user's description of themself, in one or two sentences."""
        words = drawn(self._random, self._words)
        count = 1 + int(self._random.random() * 2)
        first = int(self._random.random() * len(BIOS))
        return " ".join(words.fill(BIOS[(first + index) % len(BIOS)]) for index in range(count))


def _variants(words: Words, template: str) -> list[str]:
    variants: list[str] = []
    while len(variants) < _VARIANTS:
        sentence = words.fill(template)
        if SENTENCE_LENGTH_MIN <= len(sentence) <= SENTENCE_LENGTH_MAX:
            variants.append(sentence)
    return variants


class People:
    """The names of each user, by the user's number; no two have the same username."""

    def __init__(self, random: Random) -> None:
        self._pairs = len(FIRST_NAMES) * len(LAST_NAMES)
        self._start = int(random.random() * self._pairs)
        # A step that is coprime to the number of pairs visits every pair before it repeats the first.
        self._step = next(step for step in range(self._pairs * 5 // 8, self._pairs) if gcd(step, self._pairs) == 1)

    def names(self, number: int) -> tuple[str, str]:
        """Return the username and the display name of the user `number`, from 0."""
        if number < len(FOUNDERS):
            return FOUNDERS[number]
        pair = (self._start + number * self._step) % self._pairs
        first, last = FIRST_NAMES[pair % len(FIRST_NAMES)], LAST_NAMES[pair // len(FIRST_NAMES)]
        times = number // self._pairs
        return f"{_ascii(first)}_{_ascii(last)}{times + 1 if times else ''}", f"{first} {last}"


def drawn(random: Random, choices: Sequence[T]) -> T:
    """Return one of `choices`, all with the same probability.

    It uses `random()`, which is twice as fast as `choice()`, and returns the same numbers in every version of Python.
    """
    return choices[int(random.random() * len(choices))]


def _ascii(name: str) -> str:
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
