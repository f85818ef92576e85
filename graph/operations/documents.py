"""Stored documents: operations that a client names by a hash instead of sending their text.

There are two kinds. *Automatic persisted queries* (Apollo's protocol) are learned: a client sends the hash alone, gets
the error that it is unknown, sends text and hash once, and from then on only the hash. *Trusted documents* are listed
in a manifest, which is made at build time from the project's own operations. Where the settings say `only`, nothing
else runs.
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
from graph.operations.segmented_cache import SegmentedCache

LEARNED_BYTES_MAX = 4_194_304
LEARNED_ON_PROBATION_BYTES_MAX = 1_048_576
LEARNED_LENGTH_MAX = 50_000
WRONG_HASH = (
    "persistedQuery should be {version: 1, sha256Hash: 64 hex digits, the SHA-256 of query}, or name a document of the "
    "manifest by its id"
)
APOLLO_FORMAT = "apollo-persisted-query-manifest"

_HASH = re.compile(r"(?:(?:sha256|sha1|md5):)?([0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})", re.IGNORECASE)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def document_id(written: str) -> str:
    """Return the id of a document in one form, for manifests and for requests.

    A hash may name its algorithm before a colon and may have capitals: `sha256:9F86…` and `9f86…` are the same id. Any
    other id is taken literally.
    """
    found = _HASH.fullmatch(written)
    return found[1].lower() if found else written


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
        """Return the text of the document that a request sends or names.

        Raises:
            GraphQLError: the hash is unknown or does not belong to the text, or the document is not trusted.
        """
        if not extensions:
            return self._allowed(query or "") if self._only else query or ""
        name = extensions.get("documentId")
        persisted = extensions.get("persistedQuery")
        if name is None and isinstance(persisted, dict):
            name = persisted.get("sha256Hash")
            if persisted.get("version") != 1 or not isinstance(name, str):
                raise _refusal(WRONG_HASH)
            return self._persisted(query, document_id(name))
        if name is not None:
            known = self._known(document_id(name)) if isinstance(name, str) else None
            if known is None:
                raise _refusal("documentId names no document of the manifest", "DOCUMENT_NOT_FOUND")
            return known
        return self._allowed(query or "")

    def _known(self, name: str) -> str | None:
        return self._trusted.get(name) or self._learned.get(name)

    def _persisted(self, query: str | None, name: str) -> str:
        known = self._known(name)
        if known is not None and query in {None, known}:
            return known
        if not _SHA256.fullmatch(name):
            raise _refusal(WRONG_HASH)
        if query is None:
            raise _refusal("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND")
        if hashlib.sha256(query.encode()).hexdigest() != name:
            raise _refusal("sha256Hash is not the hash of query")
        text = self._allowed(query)
        if len(text) <= LEARNED_LENGTH_MAX and not self._only:
            self._learned.put(name, text, sys.getsizeof(text) + sys.getsizeof(name))
        return text

    def _allowed(self, query: str) -> str:
        if self._only and query not in self._trusted_texts:
            raise _refusal(
                "only the documents of the manifest run here; name one by documentId", "DOCUMENT_NOT_TRUSTED"
            )
        return query


def text_digest(text: str) -> str:
    """Return the first half of the SHA-256 of a text, in hexadecimal; it identifies a text that must not be shown."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def _refusal(message: str, code: str = "BAD_USER_INPUT") -> GraphQLError:
    return GraphQLError(message, extensions={"code": code})


def read_manifest(path: Path) -> dict[str, str]:
    """Read a manifest: `{hash: text}`, as Folio, Relay and graphql-codegen write it, or Apollo's format.

    Raises:
        SettingsError: the file cannot be read, or has neither format.
    """
    try:
        parsed = orjson.loads(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"the manifest {path} cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise SettingsError(f"the manifest {path} is not JSON: {error}") from None
    listed = _listed(parsed)
    if listed is None or not all(isinstance(part, str) for pair in listed for part in pair):
        raise SettingsError(f"the manifest {path} should be an object from hash to document")
    by_id: dict[str, str] = {}
    for name, text in listed:
        if by_id.setdefault(document_id(name), text) != text:
            raise SettingsError(f"the manifest {path} has two documents of the id {document_id(name)}")
    return by_id


def _listed(parsed: object) -> list[tuple[Any, Any]] | None:
    """Return the ids and documents of a manifest, or None if its format is unknown."""
    if not isinstance(parsed, dict):
        return None
    if parsed.get("format") != APOLLO_FORMAT:
        return list(parsed.items())
    operations = parsed.get("operations")
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        return None
    return [(one.get("id"), one.get("body")) for one in operations]


def manifest_of(texts: list[str]) -> bytes:
    """Return the manifest of these documents, by the SHA-256 of each text, sorted so that it diffs well."""
    hashes = {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}
    return orjson.dumps(hashes, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"
