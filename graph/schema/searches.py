"""Searches as clients write them in filters."""

from db.query.text_search import SearchError, search_query
from graph.errors import BadInput

SEARCH_LENGTH_MAX = 500


def searched(text: str | None) -> str | None:
    """Return the query of `filter.search`, or None if it has no word and therefore filters nothing.

    Raises:
        BadInput: it is too long, or has only excluded words.
    """
    if text is None:
        return None
    if len(text) > SEARCH_LENGTH_MAX:
        raise BadInput(f"filter.search has at most {SEARCH_LENGTH_MAX} characters, not {len(text)}")
    try:
        return search_query(text)
    except SearchError as error:
        raise BadInput(f"filter.search {error}") from None
