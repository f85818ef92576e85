"""Progress bars on standard error, if it is a terminal, and the numbers of rows in messages."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from graph.cli.support.terminal import err

__all__ = ["counted", "watched"]


@contextmanager
def watched() -> Iterator[Callable[[str, int, int | None], None]]:
    """Yield a function that shows progress: the name of the work, the amount done, and the total or None."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield show


def counted(counts: Mapping[str, int]) -> str:
    """Return the number of rows by the name of their table: "2 users, 0 posts and 1 comments"."""
    *others, last = [f"{count} {name}" for name, count in counts.items()]
    return f"{', '.join(others)} and {last}" if others else last
