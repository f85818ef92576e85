"""Header fields whose values are lists or have parameters (RFC 9110, sections 5.6 and 12.4).

Names of media types, codings and parameters are case-insensitive. A value may be quoted; commas and semicolons within
quotation marks are not separators. White space around each item is ignored, and so are empty elements.
"""

import re
from typing import NamedTuple

# The text between two separators. Those within quotation marks are part of the text.
_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+', re.DOTALL)
_PART = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*"?)+', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_WEIGHT = re.compile(r"0?\.[0-9]+|0\.?|1(\.0*)?")


class Element(NamedTuple):
    """One element of a list.

    Attributes:
        name: in lower case.
        parameters: names in lower case, and values, in the order of the header.
    """

    name: str
    parameters: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """Return the values of all parameters with this name."""
        return [value for one, value in self.parameters if one == name]

    @property
    def weight(self) -> float:
        """The weight `q`, from 0 to 1; 0 if it is malformed, and 1 if it is absent."""
        weights = self.all("q")
        if not weights:
            return 1.0
        return float(weights[0]) if _WEIGHT.fullmatch(weights[0]) else 0.0


def elements(value: bytes) -> list[Element]:
    """Return the elements of a list. Join several lines of one field by commas first: they are one list."""
    found = []
    for text in map(str.strip, _ELEMENT.findall(value.decode("latin-1"))):
        if text and not text.startswith(";"):
            name, *rest = _PART.findall(text)
            parameters = tuple(_parameter(part) for part in rest if part.strip())
            found.append(Element(name.strip().lower(), parameters))
    return found


def takes_html(accept: bytes) -> bool:
    """Return whether an Accept header names HTML, as browsers do when they open a page. `*/*` does not count."""
    return any(one.name == "text/html" and one.weight > 0 for one in elements(accept))


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    value = value.strip()
    if value.startswith('"'):
        value = _QUOTED_PAIR.sub(r"\1", value[1:].removesuffix('"'))
    return name.strip().lower(), value
