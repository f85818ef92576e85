"""Stored documents: operations that a client names by a hash instead of sending their text.

Two kinds. *Automatic persisted queries* (Apollo's protocol) are learned: a client sends the hash alone, is told that it
is unknown, sends text and hash once, and from then on the hash does. *Trusted documents* are given: a manifest made at
build time, from the project's own operations, and where the settings say `only`, nothing else runs.
"""

import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from graphql import GraphQLError

from db.settings import Settings, SettingsError
from graph.segmented_cache import SegmentedCache

LEARNED_BYTES_MAX = 4_194_304
LEARNED_ON_PROBATION_BYTES_MAX = 1_048_576
LEARNED_LENGTH_MAX = 50_000
HASH_PREFIX = "sha256:"
APOLLO_FORMAT = "apollo-persisted-query-manifest"

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Documents:
    """Finds the text of a stored document."""

    def __init__(self, settings: Settings) -> None:
        path = settings.trusted_documents_file
        self._trusted = read_manifest(path) if path is not None else {}
        self._trusted_texts = frozenset(self._trusted.values())
        self._only = settings.trusted_documents == "only"
        if self._only and path is None:
            raise SettingsError("FOLIO_TRUSTED_DOCUMENTS is 'only', and FOLIO_TRUSTED_DOCUMENTS_FILE names no manifest")
        self._learned: SegmentedCache[str, str] = SegmentedCache(
            protected_bytes_max=LEARNED_BYTES_MAX - LEARNED_ON_PROBATION_BYTES_MAX,
            probation_bytes_max=LEARNED_ON_PROBATION_BYTES_MAX,
        )

    def text(self, query: str | None, extensions: Mapping[str, Any]) -> str:
        """Return the text of the document that a request means.

        Raises:
            GraphQLError: the hash is unknown or not the text's, or the document is not a trusted one.
        """
        if not extensions:
            return self._allowed(query or "")
        name = extensions.get("documentId")
        persisted = extensions.get("persistedQuery")
        if name is None and isinstance(persisted, dict):
            name = persisted.get("sha256Hash")
            if persisted.get("version") != 1 or not isinstance(name, str) or not _SHA256.fullmatch(name):
                raise _refusal("persistedQuery should be {version: 1, sha256Hash: 64 lower-case hex digits}")
            return self._persisted(query, name)
        if name is not None:
            known = self._trusted.get(name.removeprefix(HASH_PREFIX)) if isinstance(name, str) else None
            if known is None:
                raise _refusal("documentId names no document of the manifest", "DOCUMENT_NOT_FOUND")
            return known
        return self._allowed(query or "")

    def _persisted(self, query: str | None, sha256: str) -> str:
        if query is None:
            known = self._trusted.get(sha256) or self._learned.get(sha256)
            if known is None:
                raise _refusal("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND")
            return known
        if hashlib.sha256(query.encode()).hexdigest() != sha256:
            raise _refusal("sha256Hash is not the hash of query")
        text = self._allowed(query)
        # A client may send text and hash each time: what is known already is not put on probation again.
        if len(text) <= LEARNED_LENGTH_MAX and not self._only and self._learned.get(sha256) is None:
            self._learned.put(sha256, text, sys.getsizeof(text) + sys.getsizeof(sha256))
        return text

    def _allowed(self, query: str) -> str:
        if self._only and query not in self._trusted_texts:
            raise _refusal(
                "only the documents of the manifest run here; name one by documentId", "DOCUMENT_NOT_TRUSTED"
            )
        return query


def _refusal(message: str, code: str = "BAD_USER_INPUT") -> GraphQLError:
    return GraphQLError(message, extensions={"code": code})


def read_manifest(path: Path) -> dict[str, str]:
    """Read a manifest: `{hash: text}`, as Folio, Relay and graphql-codegen write it, or Apollo's format.

    Raises:
        SettingsError: it cannot be read, or is no such manifest.
    """
    try:
        parsed = orjson.loads(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"the manifest {path} cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise SettingsError(f"the manifest {path} is no JSON: {error}") from None
    if isinstance(parsed, dict) and parsed.get("format") == APOLLO_FORMAT:
        parsed = _by_id(parsed.get("operations"))
    texts = isinstance(parsed, dict) and all(isinstance(part, str) for pair in parsed.items() for part in pair)
    if not texts:
        raise SettingsError(f"the manifest {path} should be an object from hash to document")
    by_hash = {name.removeprefix(HASH_PREFIX): text for name, text in parsed.items()}
    if len(by_hash) != len(parsed):
        raise SettingsError(f"the manifest {path} names a document twice, with {HASH_PREFIX} and without")
    return by_hash


def _by_id(operations: object) -> dict[str, Any] | None:
    """Return Apollo's list of operations as an object from id to document, or None where it is no such list."""
    listed: list[Any] = operations if isinstance(operations, list) else [None]
    if not all(isinstance(one, dict) and isinstance(one.get("id"), str) for one in listed):
        return None
    return {one["id"]: one.get("body") for one in listed}


def manifest_of(texts: list[str]) -> bytes:
    """Return the manifest of these documents, by the SHA-256 of each text, sorted so that it diffs well."""
    hashes = {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}
    return orjson.dumps(hashes, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"
