"""Documents that are sent by name: learned ones, trusted ones, and the manifests of the latter."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from graphql import GraphQLError
from typer.testing import CliRunner, Result

from db.settings import Settings, SettingsError
from graph.app import create_app
from graph.cli.app import app as command_line
from graph.operations.documents import LEARNED_LENGTH_MAX, LEARNED_ON_PROBATION_BYTES_MAX, Documents
from graph.operations.segmented_cache import ENTRY_BYTES
from tests.graph.support.callers import Client
from tests.graph.support.served_app import ALIVE, served

TYPENAME = "{ __typename }"
NEWER = "application/graphql-response+json"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def persisted(text: str, **changes: Any) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": sha256(text), **changes}}


def refusal(code: str, message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


async def post(client: Client, accept: str = "application/json", **body: Any) -> tuple[int, Any]:
    answer = await client.http.post("/graphql", json=body, headers={"accept": accept})
    return answer.status_code, answer.json()


NOT_FOUND = refusal("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")
NOT_TRUSTED = refusal("DOCUMENT_NOT_TRUSTED", "only the documents of the manifest run here; name one by documentId")
NO_DOCUMENT = refusal("DOCUMENT_NOT_FOUND", "documentId names no document of the manifest")
NO_HASH = refusal(
    "BAD_USER_INPUT",
    "persistedQuery should be {version: 1, sha256Hash: 64 hex digits, the SHA-256 of query}, or name a document of the "
    "manifest by its id",
)


# ---------------------------------------------------------------- automatic persisted queries


async def test_hash_suffices_once_its_text_was_sent(client: Client) -> None:
    assert await post(client, extensions=persisted(TYPENAME)) == (200, NOT_FOUND)
    assert await post(client, NEWER, extensions=persisted(TYPENAME)) == (400, NOT_FOUND)
    assert await post(client, query=TYPENAME, extensions=persisted(TYPENAME)) == (200, ALIVE)
    assert await post(client, extensions=persisted(TYPENAME)) == (200, ALIVE)
    assert await post(client, query=None, extensions=persisted(TYPENAME)) == (200, ALIVE)


async def test_hash_suffices_by_get_too(client: Client) -> None:
    await post(client, query=TYPENAME, extensions=persisted(TYPENAME))
    parameters = {"extensions": orjson.dumps(persisted(TYPENAME)).decode()}
    answer = await client.http.get("/graphql", params=parameters, headers={"accept": "application/json"})
    assert (answer.status_code, answer.json()) == (200, ALIVE)


async def test_text_under_another_texts_hash_is_refused_and_not_learned(client: Client) -> None:
    other = "{ users { totalCount } }"
    answer = await post(client, query=other, extensions=persisted(TYPENAME))
    assert answer == (200, refusal("BAD_USER_INPUT", "sha256Hash is not the hash of query"))
    assert await post(client, extensions=persisted(TYPENAME)) == (200, NOT_FOUND)
    assert await post(client, extensions=persisted(other)) == (200, NOT_FOUND)


@pytest.mark.parametrize(
    "changes",
    [
        *({"version": version} for version in (2, None)),
        *(
            {"sha256Hash": name}
            for name in (None, 5, ["a"], "", "abc", f"{sha256(TYPENAME)}\n", f"sha256:sha256:{sha256(TYPENAME)}")
        ),
        {"sha256Hash": sha1(TYPENAME)},
    ],
)
async def test_malformed_hash_is_refused(client: Client, changes: dict[str, Any]) -> None:
    assert await post(client, query=TYPENAME, extensions=persisted(TYPENAME, **changes)) == (200, NO_HASH)


async def test_learned_documents_still_have_their_limits(client: Client) -> None:
    aliases = "{ " + " ".join(f"a{n}: __typename" for n in range(51)) + " }"
    for body in ({"query": aliases}, {}):
        _, answer = await post(client, extensions=persisted(aliases), **body)
        assert {error["extensions"]["code"] for error in answer["errors"]} == {"OPERATION_TOO_LARGE"}


def test_flood_of_texts_takes_bounded_memory_and_the_last_ones_stay_known(settings: Settings) -> None:
    documents = Documents(settings)
    texts = [f"# {n}".ljust(LEARNED_LENGTH_MAX) for n in range(200)]
    for text in texts:
        assert documents.text(text, persisted(text)) == text
    # Each was sent once, so that they share the part of the cache for such texts; the bound is in bytes.
    each = sys.getsizeof(texts[-1]) + sys.getsizeof("0" * 64) + ENTRY_BYTES
    kept = [text for text in texts if is_known(documents, text)]
    assert kept == texts[-(LEARNED_ON_PROBATION_BYTES_MAX // each) :]
    longer = " " * (LEARNED_LENGTH_MAX + 1)
    assert documents.text(longer, persisted(longer)) == longer
    assert not is_known(documents, longer)


def test_text_of_wide_characters_is_counted_by_its_bytes(settings: Settings) -> None:
    documents = Documents(settings)
    texts = [f"# {n} \N{GRINNING FACE}".ljust(LEARNED_LENGTH_MAX) for n in range(20)]
    for text in texts:
        documents.text(text, persisted(text))
    assert [text for text in texts if is_known(documents, text)] == texts[-5:]


def test_learned_text_that_was_used_survives_a_flood(settings: Settings) -> None:
    documents = Documents(settings)
    used, registered_again, once = "{ __typename }", "{ a: __typename }", "{ b: __typename }"
    for text in (used, registered_again, registered_again, once):
        documents.text(text, persisted(text))
    assert is_known(documents, used)
    for n in range(200):
        text = f"# {n}".ljust(LEARNED_LENGTH_MAX)
        documents.text(text, persisted(text))
    assert [is_known(documents, text) for text in (used, registered_again, once)] == [True, True, False]


def is_known(documents: Documents, text: str) -> bool:
    try:
        return documents.text(None, persisted(text)) == text
    except GraphQLError:
        return False


# ---------------------------------------------------------------- trusted documents


# How tools spell a hash: graphql-codegen, Apollo, Relay (MD5), and the draft of GraphQL over HTTP with its prefix.
SPELLINGS = {
    name: spelling
    for algorithm, digest in (("sha256", sha256(TYPENAME)), ("sha1", sha1(TYPENAME)), ("md5", md5(TYPENAME)))
    for name, spelling in (
        (algorithm, digest),
        (f"{algorithm} in capitals", digest.upper()),
        (f"{algorithm} with a prefix", f"{algorithm}:{digest}"),
        (f"{algorithm} with a prefix in capitals", f"{algorithm.upper()}:{digest.upper()}"),
    )
}


def digest_of(spelling: str) -> str:
    return spelling.lower().rpartition(":")[2]


@pytest.mark.parametrize("written", SPELLINGS)
async def test_id_of_a_manifest_is_found_however_either_side_writes_it(
    settings: Settings, tmp_path: Path, written: str
) -> None:
    spelling = SPELLINGS[written]
    file = manifest(tmp_path / "m.json", {spelling: TYPENAME})
    async with served(settings, trusted_documents_file=file, trusted_documents="only") as client:
        for sent in SPELLINGS.values():
            body = {"documentId": sent}
            extensions = persisted(TYPENAME, sha256Hash=sent)
            expected = ALIVE if digest_of(sent) == digest_of(spelling) else NO_DOCUMENT
            assert await post(client, **body) == (200, expected)
            by_get = await client.http.get("/graphql", params=body, headers={"accept": "application/json"})
            assert (by_get.status_code, by_get.json()) == (200, expected)
            status, answer = await post(client, extensions=extensions)
            assert (status, answer == ALIVE) == (200, expected == ALIVE)
            status, answer = await post(client, query=TYPENAME, extensions=extensions)
            assert (status, answer == ALIVE) == (200, expected == ALIVE or digest_of(sent) == sha256(TYPENAME))


async def test_custom_id_of_a_manifest_is_compared_exactly(settings: Settings, tmp_path: Path) -> None:
    file = manifest(tmp_path / "m.json", {"x-app:Users/1": TYPENAME})
    async with served(settings, trusted_documents_file=file, trusted_documents="only") as client:
        assert await post(client, documentId="x-app:Users/1") == (200, ALIVE)
        assert await post(client, extensions=persisted(TYPENAME, sha256Hash="x-app:Users/1")) == (200, ALIVE)
        for other in ("x-app:users/1", "Users/1", "sha256:x-app:Users/1"):
            assert await post(client, documentId=other) == (200, NO_DOCUMENT)
            assert await post(client, extensions=persisted(TYPENAME, sha256Hash=other)) == (200, NO_HASH)


@pytest.mark.parametrize("spelling", [f"sha256:{sha256(TYPENAME)}", sha256(TYPENAME).upper()])
async def test_learned_document_is_found_however_its_hash_is_written(client: Client, spelling: str) -> None:
    extensions = persisted(TYPENAME, sha256Hash=spelling)
    assert await post(client, extensions=extensions) == (200, NOT_FOUND)
    assert await post(client, query=TYPENAME, extensions=extensions) == (200, ALIVE)
    assert await post(client, extensions=persisted(TYPENAME)) == (200, ALIVE)
    assert await post(client, extensions=extensions) == (200, ALIVE)
    assert await post(client, documentId=spelling) == (200, ALIVE)


def test_manifest_with_two_documents_of_one_id_prevents_the_start(settings: Settings, tmp_path: Path) -> None:
    twice = {f"sha256:{sha256(TYPENAME)}": TYPENAME, sha256(TYPENAME).upper(): "{ other: __typename }"}
    operations = [{"id": name, "body": text} for name, text in twice.items()]
    for content in (twice, {"format": "apollo-persisted-query-manifest", "version": 1, "operations": operations}):
        file = manifest(tmp_path / "m.json", content)
        with pytest.raises(SettingsError) as caught:
            Documents(settings.model_copy(update={"trusted_documents_file": file}))
        assert str(caught.value) == f"the manifest {file} has two documents of the id {sha256(TYPENAME)}"
    same = dict.fromkeys(twice, TYPENAME)
    assert (
        Documents(settings.model_copy(update={"trusted_documents_file": manifest(tmp_path / "m.json", same)})).text(
            None, {"documentId": sha256(TYPENAME)}
        )
        == TYPENAME
    )


def manifest(path: Path, content: object) -> Path:
    path.write_bytes(orjson.dumps(content))
    return path


async def test_trusted_documents_run_by_id_and_others_run_if_allowed(settings: Settings, tmp_path: Path) -> None:
    file = manifest(tmp_path / "m.json", {sha256(TYPENAME): TYPENAME})
    async with served(settings, trusted_documents_file=file) as client:
        assert await post(client, documentId=sha256(TYPENAME)) == (200, ALIVE)
        assert await post(client, documentId=f"sha256:{sha256(TYPENAME)}") == (200, ALIVE)
        assert await post(client, extensions=persisted(TYPENAME)) == (200, ALIVE)
        assert await post(client, query="{ again: __typename }") == (200, {"data": {"again": "Query"}})
        assert await post(client, documentId="other") == (200, NO_DOCUMENT)
        assert await post(client, NEWER, documentId="other") == (400, NO_DOCUMENT)
        assert await post(client, query=TYPENAME, documentId=None) == (200, ALIVE)
        odd_ids: list[Any] = [5, True, [], {}, ""]
        for odd in odd_ids:
            assert await post(client, query=TYPENAME, documentId=odd) == (200, NO_DOCUMENT)


async def test_only_trusted_documents_run_if_others_are_forbidden(settings: Settings, tmp_path: Path) -> None:
    file = manifest(tmp_path / "m.json", {sha256(TYPENAME): TYPENAME})
    other = "{ users { totalCount } }"
    async with served(settings, trusted_documents="only", trusted_documents_file=file) as client:
        assert await post(client, documentId=sha256(TYPENAME)) == (200, ALIVE)
        assert await post(client, extensions=persisted(TYPENAME)) == (200, ALIVE)
        assert await post(client, query=TYPENAME) == (200, ALIVE)
        assert await post(client, query=other) == (200, NOT_TRUSTED)
        assert await post(client, query=f"{TYPENAME} ") == (200, NOT_TRUSTED)
        assert await post(client, query=other, extensions=persisted(other)) == (200, NOT_TRUSTED)
        assert await post(client, extensions=persisted(other)) == (200, NOT_FOUND)
        assert await post(client, query=other, documentId=sha256(other)) == (200, NO_DOCUMENT)
        assert await post(client, query=other, documentId=None) == (200, NOT_TRUSTED)
        assert await post(client, query=other, extensions={"persistedQuery": None}) == (200, NOT_TRUSTED)
        assert await post(client, query=other, extensions={"documentId": None}) == (200, NOT_TRUSTED)


async def test_without_a_manifest_no_document_id_is_known(client: Client) -> None:
    assert await post(client, documentId=sha256(TYPENAME)) == (200, NO_DOCUMENT)


@pytest.mark.parametrize(
    "content",
    [
        {sha256(TYPENAME): TYPENAME},  # Folio and Relay; graphql-codegen with sha256
        {"1a2b3c": TYPENAME},  # graphql-codegen's default is another hash
        {
            "format": "apollo-persisted-query-manifest",
            "version": 1,
            "operations": [{"id": "1a2b3c", "name": "Q", "type": "query", "body": TYPENAME}],
        },
    ],
)
async def test_manifest_of_every_known_tool_is_read(settings: Settings, tmp_path: Path, content: Any) -> None:
    file = manifest(tmp_path / "m.json", content)
    known = content["operations"][0]["id"] if "operations" in content else next(iter(content))
    async with served(settings, trusted_documents="only", trusted_documents_file=file) as client:
        assert await post(client, documentId=known) == (200, ALIVE)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "is not JSON: .+"),
        (b"\xff", "is not JSON: .+"),
        (b"[]", "should be an object from hash to document"),
        (b"null", "should be an object from hash to document"),
        (b'{"a": 5}', "should be an object from hash to document"),
        (b'{"a": null}', "should be an object from hash to document"),
        (b'{"format": "apollo-persisted-query-manifest"}', "should be an object from hash to document"),
        (b'{"format": "apollo-persisted-query-manifest", "operations": {}}', "should be an object from .+"),
        (b'{"format": "apollo-persisted-query-manifest", "operations": [5]}', "should be an object from .+"),
        (
            b'{"format": "apollo-persisted-query-manifest", "operations": [{"body": "a"}]}',
            "should be an object from .+",
        ),
        (b'{"format": "apollo-persisted-query-manifest", "operations": [{"id": "a"}]}', "should be an object from .+"),
        (b'{"format": "apollo-persisted-query-manifest", "operations": [{"id": [], "body": "a"}]}', "should be .+"),
    ],
)
def test_broken_manifest_prevents_the_start(settings: Settings, tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "m.json"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"^the manifest {file} {reason}$"):
        create_app(settings.model_copy(update={"trusted_documents_file": file}))


def test_missing_manifest_prevents_the_start(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"^the manifest {tmp_path}/m.json cannot be read: No such file"):
        create_app(settings.model_copy(update={"trusted_documents_file": tmp_path / "m.json"}))


def test_trusted_documents_only_without_a_manifest_prevents_the_start(settings: Settings) -> None:
    with pytest.raises(SettingsError) as caught:
        create_app(settings.model_copy(update={"trusted_documents": "only"}))
    assert str(caught.value) == (
        "FOLIO_TRUSTED_DOCUMENTS is 'only', and FOLIO_TRUSTED_DOCUMENTS_FILE names no manifest"
    )


# ---------------------------------------------------------------- folio documents build


def build(directory: Path, output: Path) -> Result:
    return CliRunner().invoke(command_line, ["documents", "build", str(directory), "--output", str(output)])


def write(directory: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = directory / name.replace("__", "/")
        path = path.with_name(f"{path.name}.graphql")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return directory


async def test_built_manifest_holds_each_operation_with_the_fragments_it_uses(
    settings: Settings, tmp_path: Path
) -> None:
    directory = write(
        tmp_path / "app",
        users="query Users { users { nodes { ...UserCard } } } query Count { users { totalCount } }",
        # A name that is the prefix of another, an inline fragment, a string that looks like a spread.
        parts__user="fragment User on User { id } fragment UserCard on User { username ...UserName }",
        parts__name="fragment UserName on User { ... on Node { id } }",
        find='{ userByUsername(username: "...User") { id } }',
    )
    output = tmp_path / "documents.json"
    result = build(directory, output)
    assert (result.exit_code, result.stdout) == (0, f"{output}: 3 operations\n")
    texts = {
        (
            "query Users {\n  users {\n    nodes {\n      ...UserCard\n    }\n  }\n}\n\n"
            "fragment UserCard on User {\n  username\n  ...UserName\n}\n\n"
            "fragment UserName on User {\n  ... on Node {\n    id\n  }\n}"
        ),
        "query Count {\n  users {\n    totalCount\n  }\n}",
        '{\n  userByUsername(username: "...User") {\n    id\n  }\n}',
    }
    assert orjson.loads(output.read_bytes()) == {sha256(text): text for text in texts}
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["documents.json"]
    async with served(settings, trusted_documents="only", trusted_documents_file=output) as client:
        found = [await post(client, documentId=sha256(text)) for text in sorted(texts)]
    assert sorted(found, key=str) == sorted(
        [
            (200, {"data": {"users": {"nodes": []}}}),
            (200, {"data": {"users": {"totalCount": 0}}}),
            (200, {"data": {"userByUsername": None}}),
        ],
        key=str,
    )


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ({"a": "{ nothing }"}, "/a.graphql: Cannot query field 'nothing' on type 'Query'."),
        ({"a": "{ users { nodes { ...Gone } } }"}, "/a.graphql: Unknown fragment 'Gone'."),
        ({"a": "{"}, "/a.graphql: Syntax Error: Expected Name, found <EOF>."),
        ({"a": "{ __typename }", "b__c": "query Q($n: Int) { __typename }"}, "/b/c.graphql: Variable '$n' is never"),
        (
            {"a": "fragment F on User { id } { __typename }", "b": "fragment F on User { username }"},
            "/b.graphql: the fragment F is defined twice",
        ),
        ({"a": "fragment F on User { id }"}, " contains no operation in a .graphql file"),
        ({}, " contains no operation in a .graphql file"),
    ],
)
def test_document_that_cannot_be_built_is_named_by_its_file(tmp_path: Path, texts: dict[str, str], reason: str) -> None:
    directory = write(tmp_path / "app", **texts)
    result = build(directory, tmp_path / "documents.json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"folio: {directory}{reason}")
    assert not (tmp_path / "documents.json").exists()
