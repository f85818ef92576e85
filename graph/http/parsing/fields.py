"""Header fields whose values are lists or have parameters, read as RFC 9110 writes them (sections 5.6 and 12.4).

Names of media types, codings and parameters have no case; a value may stand in quotation marks, in which commas and
semicolons mean nothing; white space may stand around each of them; an empty element is none.
"""

import re
from typing import NamedTuple

# What stands between two separators, of which those within quotation marks are none.
_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+', re.DOTALL)
_PART = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*"?)+', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_WEIGHT = re.compile(r"0?\.[0-9]+|0\.?|1(\.0*)?")


class Element(NamedTuple):
    """One element of a list.

    Attributes:
        name: in lower case.
        parameters: names, in lower case, and values, in the order in which they stand.
    """

    name: str
    parameters: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """Return the values of each parameter of this name."""
        return [value for one, value in self.parameters if one == name]

    @property
    def weight(self) -> float:
        """How much it is wanted, from 0 to 1; what is malformed is not wanted."""
        weights = self.all("q")
        if not weights:
            return 1.0
        return float(weights[0]) if _WEIGHT.fullmatch(weights[0]) else 0.0


def elements(value: bytes) -> list[Element]:
    """Return the elements of a list; several lines of one field are one list, joined by commas."""
    found = []
    for text in map(str.strip, _ELEMENT.findall(value.decode("latin-1"))):
        if text and not text.startswith(";"):
            name, *rest = _PART.findall(text)
            parameters = tuple(_parameter(part) for part in rest if part.strip())
            found.append(Element(name.strip().lower(), parameters))
    return found


def takes_html(accept: bytes) -> bool:
    """Say whether an Accept header names HTML, as a browser's does when it opens a page; `*/*` does not."""
    return any(one.name == "text/html" and one.weight > 0 for one in elements(accept))


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    value = value.strip()
    if value.startswith('"'):
        value = _QUOTED_PAIR.sub(r"\1", value[1:].removesuffix('"'))
    return name.strip().lower(), value
