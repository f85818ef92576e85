"""What development provides where nothing is set: the embedded database and a secret that stays.

Production gets neither: its settings have refused to load without both.
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
    """Give `settings` a database URL and a secret key, and keep the embedded server up meanwhile, where it is used.

    Raises:
        EmbeddedError: the embedded server cannot be started, or the secret cannot be kept.
    """
    if settings.secret_key is None:
        secret = SecretStr(development_secret(settings.data_dir))
        settings = settings.model_copy(update={"secret_key": secret})
    with with_database(settings) as ready:
        yield ready


@contextmanager
def with_database(settings: Settings, *, existing: bool = False) -> Iterator[Settings]:
    """Give `settings` a database URL, and keep the embedded server up meanwhile, where it is used.

    Args:
        settings: those that are set.
        existing: only use what is there: neither a directory nor a database is made.

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
        # Unlike `exists`, these tell a directory that may not be looked into from one that is not there.
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
    """Return the secret that development signs tokens with, made at the first call and kept in `data_dir`.

    Kept, so that a restart signs nobody out. Created exclusively, so that two workers agree on one.

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
        # A hard link appears whole or not at all, and never replaces the one that a faster process has made.
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()
