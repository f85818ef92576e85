"""JSON Lines: exported and imported again byte for byte, all or nothing; a bad line is named by number and field."""

import datetime
import io
import json
from collections.abc import Iterator

import asyncpg
import orjson
import pytest

from db.bulk import line_batches
from db.bulk.jsonlines import LineCounts, LineError, export_lines, import_lines, read_lines
from db.bulk.line_fields import LINE_BYTES_MAX
from db.connections.database import Database
from db.connections.leases import Driver
from db.errors import Unavailable
from db.fields import CONTENT
from db.seed.seeding import SeedPlan, seed
from tests.db.support.contents import contents, make_empty, no_progress
from tests.db.support.json_lines import ADA, BAD_IN_THE_DATABASE, BAD_LINES, BEN, NOBODY, POST, line
from tests.db.support.rows import new_users

# A line of every kind with every field, as an export writes it.
EXPORTED = (
    b'{"type":"user","username":"Ada_1","email":"ada@example.org","isActive":true,"role":"admin",'
    b'"createdAt":"2024-02-29T12:00:00.000001Z","updatedAt":"2025-01-01T00:00:00.000000Z",'
    b'"hashedPassword":"$argon2id$v=19$x",'
    b'"profile":{"displayName":"Ad\xc3\xa0 \xf0\x9f\x8e\x88","bio":"a\\nb\\t\\"c\\"",'
    b'"websiteUrl":"https://example.org/?a=b"}}\n'
    b'{"type":"user","username":"ben","email":"ben@example.org","isActive":false,"role":"member",'
    b'"createdAt":"0001-01-01T00:00:00.000000Z","updatedAt":"9999-12-31T23:59:59.999999Z",'
    b'"hashedPassword":"!","profile":{"displayName":null,"bio":null,"websiteUrl":null}}\n'
    b'{"type":"user","username":"eve","email":"eve@example.org","isActive":true,"role":"member",'
    b'"createdAt":"2024-01-01T00:00:00.000000Z","updatedAt":"2024-01-01T00:00:00.000000Z",'
    b'"hashedPassword":"another hash","profile":null}\n'
    b'{"type":"post","author":"ben","title":"\\\\ / \xe2\x80\xa8","content":"","published":false,"views":0,'
    b'"createdAt":"2024-01-02T00:00:00.000000Z","updatedAt":"2024-01-02T00:00:00.000000Z"}\n'
    b'{"type":"post","author":"Ada_1","title":"A title","content":"\\u0001\\u001f","published":true,"views":2147483647,'
    b'"createdAt":"2024-01-01T00:00:00.000000Z","updatedAt":"2024-01-01T00:00:00.500000Z"}\n'
    b'{"type":"comment","author":"ben","body":"Second\\nthoughts.",'
    b'"createdAt":"2024-01-03T00:00:00.000000Z","updatedAt":"2024-01-03T00:00:00.250000Z"}\n'
    b'{"type":"comment","author":"eve","body":"Third.",'
    b'"createdAt":"2024-01-02T00:00:00.000000Z","updatedAt":"2024-01-02T00:00:00.000000Z"}\n'
    b'{"type":"post","author":"eve","title":"The last","content":"","published":true,"views":1,'
    b'"createdAt":"2024-01-04T00:00:00.000000Z","updatedAt":"2024-01-04T00:00:00.000000Z"}\n'
    b'{"type":"comment","author":"Ada_1","body":"Yes.",'
    b'"createdAt":"2024-01-05T00:00:00.000000Z","updatedAt":"2024-01-05T00:00:00.000000Z"}\n'
)


async def exported(database: Database, *, with_password_hashes: bool = True) -> bytes:
    sink = io.BytesIO()
    await export_lines(database, sink.write, no_progress, with_password_hashes=with_password_hashes)
    return sink.getvalue()


async def imported(database: Database, data: bytes) -> LineCounts:
    return await import_lines(database, read_lines(io.BytesIO(data)), no_progress)


# ---------------------------------------------------------------- out, and in again


async def test_export_of_an_empty_database_is_empty(database: Database) -> None:
    assert await exported(database) == b""
    assert await imported(database, b"") == LineCounts(users=0, posts=0, without_password=0)


async def test_imported_lines_are_exported_as_the_same_bytes(database: Database) -> None:
    assert await imported(database, EXPORTED) == LineCounts(users=3, posts=3, comments=3, without_password=1)
    assert await exported(database) == EXPORTED


async def test_seeded_database_survives_export_and_import_to_the_byte(database: Database, superuser: Driver) -> None:
    plan = SeedPlan(users=1500, posts=1200, accounts=0, admin=True)
    await seed(database, plan, "a hash", no_progress)
    first = await exported(database)
    await make_empty(superuser)
    assert await imported(database, first) == LineCounts(users=1500, posts=1200, without_password=0)
    assert await exported(database) == first


async def test_export_without_password_hashes_has_none(database: Database) -> None:
    await imported(database, EXPORTED)
    lines = (await exported(database, with_password_hashes=False)).splitlines(keepends=True)
    expected = [
        orjson.dumps({key: value for key, value in orjson.loads(one).items() if key != "hashedPassword"}) + b"\n"
        for one in EXPORTED.splitlines(keepends=True)
        if b'"hashedPassword"' in one
    ]
    assert lines[:3] == expected
    assert lines[3:] == EXPORTED.splitlines(keepends=True)[3:]


async def test_export_counts_and_reports_its_progress(database: Database) -> None:
    await imported(database, EXPORTED)
    progress: list[tuple[str, int, int]] = []
    counts = await export_lines(database, no_progress, lambda *news: progress.append(news))
    assert counts == LineCounts(users=3, posts=3, comments=3)
    assert progress == [("users", 3, 3), ("posts", 3, 3)]


async def test_longest_post_that_the_table_takes_fits_into_a_line(database: Database) -> None:
    await imported(database, line(ADA) + line(POST, content="\x01" * CONTENT.length_max))
    await imported(database, line(BEN) + (await exported(database)).splitlines(keepends=True)[1])
    assert len(await exported(database)) > 2 * 6 * CONTENT.length_max


# ---------------------------------------------------------------- in


async def test_omitted_fields_have_the_values_of_a_new_user_and_post(database: Database, superuser: Driver) -> None:
    before = datetime.datetime.now(datetime.UTC)
    assert await imported(database, line(ADA) + line(POST)) == LineCounts(users=1, posts=1, without_password=1)
    user = await superuser.fetchrow(
        "SELECT id, username, email, hashed_password, is_active, role, version FROM users WHERE role <> 'system'"
    )
    assert user is not None
    assert tuple(user) == (2, "ada", "ada@example.org", "!", True, "member", 1)
    post = await superuser.fetchrow("SELECT id, title, content, published, views, author_id, version FROM posts")
    assert post is not None
    assert tuple(post) == (1, "A title", "A text.", False, 0, 2, 1)
    assert await superuser.fetchval("SELECT count(*) FROM profiles") == 0
    [instants] = await superuser.fetch(
        "SELECT DISTINCT users.created_at, users.updated_at, posts.created_at, posts.updated_at"
        " FROM users JOIN posts ON author_id = users.id"
    )
    assert set(instants) == {instants[0]}
    assert before <= instants[0] <= datetime.datetime.now(datetime.UTC)


async def test_updated_at_left_out_is_created_at(database: Database, superuser: Driver) -> None:
    await imported(database, line(ADA, createdAt="2020-01-01T00:00:00Z"))
    updated_at = await superuser.fetchval("SELECT updated_at FROM users WHERE username = 'ada'")
    assert updated_at == datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


async def test_instants_of_any_offset_are_kept_in_utc(database: Database, superuser: Driver) -> None:
    await imported(database, line(ADA, createdAt="2020-01-01T00:30:00.25+02:00"))
    created_at = await superuser.fetchval("SELECT created_at FROM users WHERE username = 'ada'")
    assert created_at == datetime.datetime(2019, 12, 31, 22, 30, 0, 250_000, tzinfo=datetime.UTC)


async def test_email_is_stored_as_the_api_would_store_it(database: Database, superuser: Driver) -> None:
    await imported(database, line(ADA, email="Ada@BÜCHER.example"))
    assert await superuser.fetchval("SELECT email FROM users WHERE username = 'ada'") == "Ada@xn--bcher-kva.example"


async def test_authors_are_found_in_the_database_and_without_regard_to_case(
    database: Database, superuser: Driver
) -> None:
    await imported(database, line(ADA))
    await imported(database, line(BEN, username="Ben") + line(POST, author="ADA") + line(POST, author="ben"))
    found = await superuser.fetch("SELECT username FROM posts JOIN users ON users.id = author_id ORDER BY posts.id")
    assert [row["username"] for row in found] == ["ada", "Ben"]


async def test_users_and_posts_may_alternate(database: Database, superuser: Driver) -> None:
    data = line(ADA) + line(POST) + line(BEN) + line(POST, author="ben")
    assert await imported(database, data) == LineCounts(users=2, posts=2, without_password=2)


async def test_last_line_may_lack_its_end_and_lines_may_end_as_on_windows(database: Database) -> None:
    data = line(ADA).replace(b"\n", b"\r\n") + line(BEN).rstrip(b"\n")
    assert await imported(database, data) == LineCounts(users=2, posts=0, without_password=2)


async def test_progress_reports_the_lines_that_are_done(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_batches, "BATCH_LINES", 2)
    progress: list[int] = []
    await import_lines(database, [line(ADA), line(BEN), line(POST)], progress.append)
    assert progress == [2, 3]


async def test_full_batch_of_bytes_is_written_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_batches, "BATCH_BYTES", 1)
    progress: list[int] = []
    await import_lines(database, [line(ADA), line(BEN)], progress.append)
    assert progress == [1, 2, 2]


# ---------------------------------------------------------------- refusals


async def test_no_bad_line_leaves_anything_imported(database: Database, superuser: Driver) -> None:
    await imported(database, line(BEN, username="zoe", email="zoe@example.org"))
    before = await contents(superuser)
    refused = {}
    for name, (bad, *_) in {**BAD_LINES, **BAD_IN_THE_DATABASE}.items():
        with pytest.raises(LineError) as refusal:
            await imported(database, line(ADA) + line(POST) + bad + line(POST, title=""))
        refused[name] = (bad, refusal.value.field, refusal.value.message)
        assert refusal.value.number == 3, name
    assert refused == {**BAD_LINES, **BAD_IN_THE_DATABASE}
    assert await contents(superuser) == before


@pytest.mark.parametrize(
    ("data", "number", "field", "message"),
    [
        ([line(ADA), line(BEN), line(BEN, email="b@example.org")], 3, "username", "is taken already, on line 2"),
        ([line(ADA), line(POST), line(BEN, email="ada@example.org")], 3, "email", "is taken already, on line 1"),
        ([line(ADA), line(POST, author="ben"), line(BEN)], 2, "author", NOBODY),
        ([line(ADA), line(POST), line(ADA), line(POST, author="eve")], 3, "username", "is taken already, on line 1"),
        ([line(ADA), line(ADA), b"{\n"], 2, "username", "is taken already, on line 1"),
        ([line(ADA), line(POST, author="ben"), line(ADA)], 2, "author", NOBODY),
    ],
    ids=["username", "email", "author below", "same user twice", "before bad JSON", "before a taken name"],
)
async def test_first_bad_line_is_named_however_lines_fall_into_batches(
    database: Database, monkeypatch: pytest.MonkeyPatch, data: list[bytes], number: int, field: str, message: str
) -> None:
    for size in (1, 2, 3, 1000):
        monkeypatch.setattr(line_batches, "BATCH_LINES", size)
        with pytest.raises(LineError) as refusal:
            await import_lines(database, data, no_progress)
        assert (refusal.value.number, refusal.value.field, refusal.value.message) == (number, field, message)


async def test_longest_post_is_read_though_every_character_is_escaped(database: Database, superuser: Driver) -> None:
    content = "\N{GRINNING FACE}" * CONTENT.length_max
    post = json.dumps({**POST, "content": content}, ensure_ascii=True).encode() + b"\n"
    assert len(post) > 12 * CONTENT.length_max
    await import_lines(database, [line(ADA), post], no_progress)
    assert await superuser.fetchval("SELECT content FROM posts") == content


async def test_line_that_is_too_long_is_not_read_to_its_end() -> None:
    file = io.BytesIO(b"x" * (10 * LINE_BYTES_MAX))
    assert len(next(read_lines(file))) == LINE_BYTES_MAX + 2


async def test_read_error_in_the_middle_of_a_file_imports_nothing(database: Database, superuser: Driver) -> None:
    def lines() -> Iterator[bytes]:
        yield line(ADA)
        raise OSError(5, "Input/output error")

    before = await contents(superuser)
    with pytest.raises(LineError) as refusal:
        await import_lines(database, lines(), no_progress)
    assert str(refusal.value) == "line 2: cannot be read: Input/output error"
    assert await contents(superuser) == before


async def test_import_that_deadlocks_is_not_tried_again_with_the_rest_of_the_lines(
    database: Database, superuser: Driver
) -> None:
    def lines() -> Iterator[bytes]:
        yield line(ADA)
        raise asyncpg.DeadlockDetectedError("deadlock detected")

    before = await contents(superuser)
    with pytest.raises(Unavailable) as refusal:
        await import_lines(database, lines(), no_progress)
    assert (refusal.value.code, str(refusal.value)) == (
        "DATABASE_BUSY",
        "others write the same rows; nothing was imported, try again",
    )
    assert await contents(superuser) == before


async def test_ids_continue_after_the_imported_rows(database: Database) -> None:
    await imported(database, line(ADA) + line(BEN))
    assert await new_users(database) == [4]


@pytest.mark.parametrize("size", [1, 2, 4])
async def test_comments_belong_to_the_post_before_them_whatever_the_size_of_batches(
    database: Database, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(line_batches, "BATCH_LINES", size)
    await imported(database, EXPORTED)
    assert await exported(database) == EXPORTED


async def test_comment_before_any_post_is_named_by_its_line(database: Database) -> None:
    comment = b'{"type":"comment","author":"ada","body":"First!"}\n'
    with pytest.raises(LineError, match=r"^line 1: is a comment, and there is no post on an earlier line$"):
        await imported(database, comment)


async def test_author_of_a_comment_who_does_not_exist_is_named_by_its_line(database: Database) -> None:
    lines = EXPORTED + b'{"type":"comment","author":"nobody","body":"First!"}\n'
    with pytest.raises(
        LineError,
        match=r"^line 10: field .author.: is not the username of a user in the database or on an earlier line$",
    ):
        await imported(database, lines)
    assert await exported(database) == b""
