"""The answers of introspections, which the schema alone decides: kept as JSON, and shared by equal introspections."""

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
    """Return a digest of what an introspection selects, without its name, comments and white space.

    None is returned where its variables decide the answer, too.
    """
    if definition.variable_definitions:
        return None
    written = map(written_tokens, (definition.selection_set, *fragments.values()))
    return text_digest("\n".join([definition.operation.value, *written]))


class Introspections:
    """The bounded cache of answers, by digest."""

    def __init__(self) -> None:
        self._answers: SegmentedCache[str, bytes] = SegmentedCache(
            protected_bytes_max=INTROSPECTED_BYTES_MAX, probation_bytes_max=INTROSPECTED_ON_PROBATION_BYTES_MAX
        )

    def get(self, digest: str) -> bytes | None:
        """Return the data of an introspection, as JSON, where it is kept."""
        return self._answers.get(digest)

    def keep(self, digest: str, data: bytes) -> None:
        """Keep the data of an introspection, as JSON: the objects would take many times as much."""
        kept = bytes(memoryview(data))  # what orjson gives holds a buffer of 4 KiB at the least
        self._answers.put(digest, kept, sys.getsizeof(kept) + sys.getsizeof(digest))
