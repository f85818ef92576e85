"""Files that commands read and write; `-` is a standard stream."""

from pathlib import Path

from graph.cli.support.terminal import CommandError

STANDARD_STREAM = Path("-")


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        CommandError: the file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not UTF-8 text") from None
