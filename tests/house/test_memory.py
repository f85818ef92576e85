"""docs/MEMORY.md lists everything that a worker caches, each cache with its bound."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MADE = re.compile(
    r"@(?:functools\.)?(?:lru_)?cache\b.*\n\s*(?:async )?def (\w+)"
    r"|(\w+)(?:: [^=\n]+)? = (?:\w+\.)?(?:\w*Cache|OrderedDict|Weak\w+|MemoryStorage|Counter|defaultdict|deque)\("
)


def test_every_cache_is_listed_with_its_bound() -> None:
    caches = {
        (path.relative_to(ROOT).as_posix(), function or name)
        for room in ("db", "graph")
        for path in (ROOT / room).rglob("*.py")
        for function, name in MADE.findall(path.read_text(encoding="utf-8"))
    }
    listed = set(re.findall(r"`(\w[\w/]+\.py)` `(\w+)`", (ROOT / "docs" / "MEMORY.md").read_text(encoding="utf-8")))
    assert caches - listed == set(), "say in docs/MEMORY.md what bounds it"
    assert listed - caches == set(), "docs/MEMORY.md lists a cache that does not exist any more"
