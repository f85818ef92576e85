"""The defaults of development: the embedded database, and a secret that is kept.

Production has neither: its settings do not load without a database URL and a secret.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from db.embedded.places import os_errors_explained
from db.embedded.server import EmbeddedError, embedded_postgres
from db.settings import Settings, async_url


@contextmanager
def completed(settings: Settings) -> Iterator[Settings]:
    """Yield `settings` with a database URL and a secret key, and keep the embedded server running if it is used.

    Raises:
        EmbeddedError: the embedded server cannot be started, or the secret cannot be stored.
    """
    if settings.secret_key is None:
        secret = SecretStr(development_secret(settings.data_dir))
        settings = settings.model_copy(update={"secret_key": secret})
    with with_database(settings) as ready:
        yield ready


@contextmanager
def with_database(settings: Settings, *, existing: bool = False) -> Iterator[Settings]:
    """Yield `settings` with a database URL, and keep the embedded server running if it is used.

    Args:
        settings: the settings of the process.
        existing: only use an existing database: create neither a directory nor a database.

    Raises:
        EmbeddedError: the embedded server cannot be started, or there is no database yet.
    """
    if settings.database_url is not None:
        yield settings
        return
    if existing:
        _ensure_existing(settings)
    with embedded_postgres(data_directory(settings)) as server:
        yield settings.model_copy(update={"database_url": SecretStr(async_url(server.url()))})


def _ensure_existing(settings: Settings) -> None:
    with os_errors_explained(settings.data_dir):
        # Unlike `exists`, `stat` distinguishes a directory that this process may not read from a missing one.
        try:
            (data_directory(settings) / "pgdata").stat()
        except FileNotFoundError:
            raise EmbeddedError(
                f"there is no database in {settings.data_dir} yet; `folio dev` or `folio migrate upgrade` makes one, "
                "or set FOLIO_DATABASE_URL to the URL of a server"
            ) from None


def data_directory(settings: Settings) -> Path:
    """Return the directory of the embedded server."""
    return settings.data_dir / "postgres"


def development_secret(data_dir: Path) -> str:
    """Return the secret with which development signs tokens. The first call creates it in `data_dir`.

    It is stored, so that a restart signs no user out. It is created exclusively, so that two workers have the same.

    Raises:
        EmbeddedError: `data_dir` cannot be written.
    """
    with os_errors_explained(data_dir):
        return _kept_secret(data_dir)


def _kept_secret(data_dir: Path) -> str:
    path = data_dir / "secret_key"
    data_dir.mkdir(parents=True, exist_ok=True)
    draft = data_dir / f"secret_key.{os.getpid()}.{secrets.token_hex(4)}"
    draft.touch(mode=0o600)
    draft.write_text(secrets.token_urlsafe(48))
    try:
        # A hard link appears complete or not at all, and never replaces the secret of a faster process.
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()
