"""What development provides where nothing is set: the embedded database and a secret that stays.

Production gets neither: its settings have refused to load without both.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from db.embedded import embedded_postgres
from db.settings import Settings, async_url


@contextmanager
def completed(settings: Settings) -> Iterator[Settings]:
    """Give `settings` a database URL and a secret key, and keep the embedded server up meanwhile, where it is used.

    Raises:
        EmbeddedError: the embedded server cannot be started.
    """
    if settings.secret_key is None:
        secret = SecretStr(development_secret(settings.data_dir))
        settings = settings.model_copy(update={"secret_key": secret})
    if settings.database_url is not None:
        yield settings
        return
    with embedded_postgres(settings.data_dir / "postgres") as server:
        yield settings.model_copy(update={"database_url": SecretStr(async_url(server.url()))})


def development_secret(data_dir: Path) -> str:
    """Return the secret that development signs tokens with, made at the first call and kept in `data_dir`.

    Kept, so that a restart signs nobody out. Created exclusively, so that two workers agree on one.
    """
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
