from db.engine import Database
from db.migrating import applied_revisions, expected_revision


async def test_template_is_at_the_expected_revision(database: Database) -> None:
    assert list(await applied_revisions(database)) == [expected_revision()]
async def test_template_is_at_the_expected_revision2(database: Database) -> None:
    assert list(await applied_revisions(database)) == [expected_revision()]
