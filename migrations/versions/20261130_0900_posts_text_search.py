"""Posts: the sort key of a title, and the document for text search, as generated columns.

Rewrites the table and builds its indexes. Meanwhile no client can read or write posts: about half a minute for each
100,000 posts. PostgreSQL has no other method to add a stored generated column. Run it when readers can wait.

The functions are immutable and must not change while columns depend on them. Another rule needs another function.

Revision: 9a1f0c3e5b05
Revises: 9a1f0c3e5b04
Created: 2026-11-30 09:00:00+00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "9a1f0c3e5b05"
down_revision: str | None = "9a1f0c3e5b04"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

MARKS = (
    r"\u00ad\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640"
    r"\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u1ab0-\u1aff\u1dc0-\u1dff\u200b\u2060"
    r"\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\ufeff"
)
SEPARATORS = (
    r"!-/:-@[-`{-~\u0080-\u00bf\u00d7\u00f7\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964\u0965\u2000-\u206f\u20a0-\u20cf"
    r"\u2190-\u2bff\u2e00-\u2e7f\u3000-\u3004\u3008-\u3020\u3030\u303d-\u303f\u30a0\u30fb\ufe10-\ufe1f\ufe30-\ufe6f"
    r"\uffe0-\uffff\U0001f000-\U0001fbff"
)
UNSPACED = (
    r"\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u4dbf"
    r"\u4e00-\u9fff\uac00-\ud7a3"
)
PLAIN = ("øłđðıς", "olddiσ")  # noqa: RUF001 - a sigma
ALONE = r"\U00020000-\U0003ffff"

# Each function calls only built-in functions, and is parsed when it is created, so that its meaning does not depend on
# search_path. lower() needs a collation that covers the letters of all scripts, which the database's own may not do.
# The names of such collations differ between systems.
CREATE = (
    "CREATE TEXT SEARCH DICTIONARY folio_stem (TEMPLATE = pg_catalog.snowball, LANGUAGE = english)",
    "CREATE TEXT SEARCH CONFIGURATION folio (COPY = pg_catalog.simple)",
    """
    ALTER TEXT SEARCH CONFIGURATION folio
    ALTER MAPPING FOR asciiword, word, asciihword, hword, hword_asciipart, hword_part WITH folio_stem
    """,
    rf"""
    DO $do$
    DECLARE
        wanted name[] := ARRAY['pg_c_utf8', 'C.utf8', 'C.UTF-8', 'und-x-icu', 'en_US.utf8', 'default'];
        found name := (
            SELECT collname FROM pg_catalog.pg_collation
            WHERE collnamespace = 'pg_catalog'::regnamespace AND collname = ANY (wanted)
                AND collencoding IN (-1, pg_char_to_encoding('UTF8'))
            ORDER BY array_position(wanted, collname) LIMIT 1
        );
    BEGIN
        EXECUTE format($create$
            CREATE FUNCTION folded_text(given text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
            RETURN CASE
                WHEN octet_length(given) = char_length(given) THEN lower(given COLLATE "C")
                ELSE translate(
                    replace(replace(replace(replace(
                        lower(normalize(
                            regexp_replace(normalize(given, NFKD), '[{MARKS}]+', '', 'g'), NFKC
                        ) COLLATE pg_catalog.%I) COLLATE "C",
                    'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th'),
                    '{PLAIN[0]}', '{PLAIN[1]}')
            END
        $create$, found);
    END
    $do$
    """,  # noqa: S608 - constants of this file
    rf"""
    CREATE FUNCTION searched_words(folded text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN folded !~ '[{UNSPACED}{ALONE}]' THEN regexp_replace(folded, '[{SEPARATORS}]+', ' ', 'g')
        ELSE regexp_replace(
                regexp_replace(regexp_replace(folded, '[{SEPARATORS}]+', ' ', 'g'), '([{ALONE}])', ' \1 ', 'g'),
                '([{UNSPACED}])([{UNSPACED}]?)', ' \1\2 ', 'g')
            || ' '
            || regexp_replace(
                regexp_replace(regexp_replace(folded, '[^{UNSPACED}]+', ' ', 'g'), '(^| )[{UNSPACED}]', ' ', 'g'),
                '([{UNSPACED}])([{UNSPACED}]?)', ' \1\2 ', 'g')
    END
    """,
    """
    CREATE FUNCTION sort_key(given text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN left(folded_text(given), 200)
    """,
    """
    CREATE FUNCTION text_document(title text, content text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN setweight(to_tsvector('folio', searched_words(folded_text(title))), 'A')
        || to_tsvector('folio', searched_words(folded_text(content)))
    """,
)
DROP = (
    "DROP FUNCTION text_document(text, text)",
    "DROP FUNCTION sort_key(text)",
    "DROP FUNCTION searched_words(text)",
    "DROP FUNCTION folded_text(text)",
    "DROP TEXT SEARCH CONFIGURATION folio",
    "DROP TEXT SEARCH DICTIONARY folio_stem",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60min'")
    for statement in CREATE:
        op.execute(statement)
    op.drop_index("ix_posts_document", table_name="posts")
    op.drop_index("ix_posts_published_title_id", table_name="posts")
    op.drop_index("ix_posts_title_id", table_name="posts")
    # One statement, so that the table is rewritten only once.
    op.execute(
        'ALTER TABLE posts ADD title_key text COLLATE "C" NOT NULL GENERATED ALWAYS AS (sort_key(title)) STORED, '
        "ADD document tsvector NOT NULL GENERATED ALWAYS AS (text_document(title, content)) STORED"
    )
    op.create_index("ix_posts_document", "posts", ["document"], unique=False, postgresql_using="gin")
    op.create_index("ix_posts_published_title_key_id", "posts", ["published", "title_key", "id"], unique=False)
    op.create_index("ix_posts_title_key_id", "posts", ["title_key", "id"], unique=False)
    # Without statistics of the new columns the planner guesses how many posts a search finds. With the statistics of an
    # empty table it would always expect no post.
    op.execute("DO $$ BEGIN IF EXISTS (SELECT FROM posts) THEN ANALYZE posts; END IF; END $$")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("SET LOCAL statement_timeout = '60min'")
    op.drop_column("posts", "document")
    op.drop_column("posts", "title_key")
    for statement in DROP:
        op.execute(statement)
    document: sa.ColumnClause[str] = sa.literal_column(
        "to_tsvector('english'::regconfig, (title || ' '::text) || content)"
    )
    op.create_index("ix_posts_document", "posts", [document], unique=False, postgresql_using="gin")
    op.create_index("ix_posts_published_title_id", "posts", ["published", "title", "id"], unique=False)
    op.create_index("ix_posts_title_id", "posts", ["title", "id"], unique=False)
