"""The data of introspections, which depends only on the schema: kept as JSON, and shared by equal introspections."""

import sys
from collections.abc import Mapping

from graphql import FragmentDefinitionNode, OperationDefinitionNode

from graph.operations.documents import text_digest
from graph.operations.segmented_cache import SegmentedCache
from graph.operations.validation import written_tokens

INTROSPECTED_BYTES_MAX = 3_145_728
INTROSPECTED_ON_PROBATION_BYTES_MAX = 1_048_576


def introspection_digest(
    definition: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> str | None:
    """Return a digest of the selection of an introspection, without its name, comments and white space.

    It is None if the data also depends on variables.
    """
    if definition.variable_definitions:
        return None
    written = map(written_tokens, (definition.selection_set, *fragments.values()))
    return text_digest("\n".join([definition.operation.value, *written]))


class Introspections:
    """The bounded cache of introspection data, by digest."""

    def __init__(self) -> None:
        self._answers: SegmentedCache[str, bytes] = SegmentedCache(
            protected_bytes_max=INTROSPECTED_BYTES_MAX, probation_bytes_max=INTROSPECTED_ON_PROBATION_BYTES_MAX
        )

    def get(self, digest: str) -> bytes | None:
        """Return the data of an introspection, as JSON, where it is kept."""
        return self._answers.get(digest)

    def keep(self, digest: str, data: bytes) -> None:
        """Keep the data of an introspection, as JSON: the objects would take many times as much."""
        kept = bytes(memoryview(data))  # a copy: the bytes from orjson hold a buffer of at least 4 KiB
        self._answers.put(digest, kept, sys.getsizeof(kept) + sys.getsizeof(digest))
