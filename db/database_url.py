"""The form of database URLs: those of libpq, with the driver asyncpg."""

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

DRIVER = "postgresql+asyncpg"
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def async_url(url: str) -> str:
    """Return `url` with the asyncpg driver.

    Raises:
        ValueError: it is not a PostgreSQL URL. The message never repeats the URL, which may contain a password.
    """
    shape = "should look like postgresql://user:password@host:5432/database"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the ValueError of int() repeats a password in the place of the port
        raise ValueError(shape) from None
    if parsed.drivername not in {"postgres", "postgresql", DRIVER}:
        raise ValueError(f"{shape}; its scheme is {parsed.drivername!r}")
    query = dict(parsed.query)
    if "sslmode" in query:  # the name in libpq, which most hosts put into the URL that they show; in asyncpg it is ssl
        query["ssl"] = query.pop("sslmode")
    unknown = sorted(set(query) - {"host", "port", "ssl"})
    if unknown:
        raise ValueError(f"{shape}; the parameter {unknown[0]!r} is not supported (host, port and sslmode are)")
    if query.get("ssl", "prefer") not in SSL_MODES:
        raise ValueError(f"{shape}; its sslmode should be one of {', '.join(SSL_MODES)}")
    return parsed.set(drivername=DRIVER, query=query).render_as_string(hide_password=False)
