"""Settings: each comes from a `FOLIO_*` variable or `.env`, is checked once, and never changes afterwards.

The names contain the units. A value that cannot be used stops the start with a `SettingsError` that names the variable,
the value and what is allowed. A `FOLIO_*` variable that is not a setting stops it too: it is most likely a typing
error, and the intended setting would silently keep its default.
"""

import difflib
import os
import re
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.database_url import async_url

__all__ = ["ENV_FILE", "PREFIX", "Origin", "Settings", "SettingsError", "async_url", "load_settings", "origins"]

PREFIX = "FOLIO_"
ENV_FILE = Path(".env")
SECRET_KEY_MIN_LENGTH = 32
SECRET_KEY_MIN_DISTINCT = 8  # "aaaa…" is long but weak
Shown = Literal["graphiql", "introspection", "suggestions", "metrics"]
"""Settings that are on everywhere but in production, unless they are set."""


class SettingsError(Exception):
    """A setting that cannot be used. The message names it, its value and what is allowed."""


class Settings(BaseSettings):
    """All settings of a Folio process. Build it with `load_settings`, which writes the messages of the refusals."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, env_file=ENV_FILE
    )

    env: Annotated[
        Literal["development", "production"],
        Field(description="`production` requires a database URL and a secret, and hides GraphiQL and introspection."),
    ] = "development"
    database_url: Annotated[
        SecretStr | None,
        Field(description="Any PostgreSQL 14 or later, `postgresql://…`. Empty in development: the embedded server."),
    ] = None
    data_dir: Annotated[
        Path, Field(description="Where development keeps the embedded server's data and the generated secret.")
    ] = Path(".folio")
    secret_key: Annotated[
        SecretStr | None,
        Field(description="Signs access tokens; at least 32 characters. Generated and kept in development."),
    ] = None

    pool_size: Annotated[int, Field(ge=1, le=1000, description="Connections kept open by each worker.")] = 8
    pool_max_overflow: Annotated[
        int, Field(ge=0, le=1000, description="Further connections under load, closed when idle.")
    ] = 4
    pool_timeout_s: Annotated[
        float,
        Field(
            gt=0,
            le=300,
            description="How long a request waits for a free or a new connection before it is refused.",
        ),
    ] = 5.0
    pool_recycle_s: Annotated[
        int, Field(ge=-1, le=86_400, description="Age at which a connection is replaced; -1 never replaces.")
    ] = 1800
    pool_pre_ping: Annotated[
        bool,
        Field(description="Test each connection before it is used: one round trip more, no error after a restart."),
    ] = False

    connect_timeout_s: Annotated[float, Field(gt=0, le=300, description="How long opening a connection may take.")] = (
        10.0
    )
    statement_timeout_ms: Annotated[int, Field(ge=1, le=600_000, description="Server-side limit of a statement.")] = (
        10_000
    )
    lock_timeout_ms: Annotated[int, Field(ge=1, le=600_000, description="Server-side limit of a wait for a lock.")] = (
        5_000
    )
    idle_in_transaction_session_timeout_ms: Annotated[
        int, Field(ge=1, le=600_000, description="Server-side limit of idling inside a transaction.")
    ] = 15_000
    client_connection_check_interval_ms: Annotated[
        int,
        Field(
            ge=0, le=600_000, description="How often the server checks whether its client has disconnected; 0: never."
        ),
    ] = 2_000
    write_attempts_max: Annotated[
        int,
        Field(
            ge=1,
            le=20,
            description="Attempts at a read or write that fails through a conflict, a lost connection or a migration.",
        ),
    ] = 6

    access_token_ttl_s: Annotated[int, Field(ge=30, le=86_400, description="Life of an access token.")] = 900
    refresh_token_ttl_s: Annotated[
        int, Field(ge=60, le=31_536_000, description="Life of a session after its last refresh.")
    ] = 2_592_000
    event_retention_s: Annotated[int, Field(ge=60, le=31_536_000, description="How long events are kept.")] = 86_400
    sign_in_attempts_max: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            description="Failed sign-ins with one login from one address after which each further attempt must wait.",
        ),
    ] = 10
    sign_in_window_s: Annotated[
        int,
        Field(
            ge=1,
            le=86_400,
            description="The longest wait after failed sign-ins. Failures are forgotten this long after the last one.",
        ),
    ] = 900

    password_hash_memory_kib: Annotated[int, Field(ge=8, le=1_048_576, description="argon2id memory.")] = 19_456
    password_hash_iterations: Annotated[int, Field(ge=1, le=100, description="argon2id passes.")] = 2
    password_hash_threads: Annotated[
        int, Field(ge=1, le=64, description="Passwords hashed at once by each worker.")
    ] = 2

    accounts_per_user_max: Annotated[int, Field(ge=1, le=10_000, description="Accounts one user may open.")] = 20

    graphiql: Annotated[bool | None, Field(description="Serve GraphiQL to browsers. Default: not in production.")] = (
        None
    )
    introspection: Annotated[bool | None, Field(description="Answer introspection. Default: not in production.")] = None
    suggestions: Annotated[
        bool | None, Field(description="`Did you mean …` in errors. Default: not in production.")
    ] = None
    engine: Annotated[
        Literal["compiled", "ordinary"],
        Field(description="`ordinary` leaves every operation to graphql-core's executor: slower, for comparison."),
    ] = "compiled"
    # 100,000 characters take 1.2 MB if a client writes each as two escapes (\ud83d\ude00). They take 1.4 MB if these
    # are in the document and JSON escapes them once more.
    body_bytes_max: Annotated[
        int,
        Field(
            ge=1024,
            le=104_857_600,
            description="Size of a request body, before and after decompression. With the default the longest "
            "post fits, however its characters are escaped.",
        ),
    ] = 1_572_864
    answer_bytes_max: Annotated[
        int,
        Field(
            ge=65_536,
            le=1_073_741_824,
            description="Size of an answer before compression; a larger answer becomes an error. One request can take "
            "about this much memory of a worker.",
        ),
    ] = 16_777_216
    operations_in_flight_max: Annotated[
        int, Field(ge=1, le=100_000, description="Requests that a worker processes at once; further ones receive 503.")
    ] = 256
    connections_max: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000,
            description="Connections of clients that a worker has open at once; fewer if the limit of open files is "
            "lower. A further connection replaces an idle one, or is refused.",
        ),
    ] = 4_096
    bodies_arriving_max: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            description="Request bodies that a worker receives at once, at most a quarter of them from one address. "
            "They do not count as requests in process.",
        ),
    ] = 256
    live_connections_max: Annotated[
        int, Field(ge=1, le=1_000_000, description="WebSockets and streams of events that a worker has open at once.")
    ] = 2_048
    live_connections_per_address_max: Annotated[
        int, Field(ge=1, le=1_000_000, description="How many of them one address may have; of IPv6, one /64.")
    ] = 512
    live_connections_per_user_max: Annotated[
        int, Field(ge=1, le=1_000_000, description="How many of them a user may have.")
    ] = 32
    live_operations_per_connection_max: Annotated[
        int, Field(ge=1, le=10_000, description="Operations that run at once on one of them, subscriptions included.")
    ] = 64
    live_ping_s: Annotated[
        float,
        Field(
            gt=0, le=3600, description="Silence after which one of them is tested; after as long again it is closed."
        ),
    ] = 20.0
    socket_message_bytes_max: Annotated[
        int, Field(ge=1024, le=104_857_600, description="Size of a message that a client sends over a WebSocket.")
    ] = 131_072
    socket_init_s: Annotated[
        float, Field(gt=0, le=300, description="How long a client may take to initialise a WebSocket after opening it.")
    ] = 5.0
    socket_idle_s: Annotated[
        float, Field(gt=0, le=86_400, description="How long a WebSocket without an operation stays open.")
    ] = 300.0
    operation_deadline_ms: Annotated[
        int,
        Field(
            ge=100,
            le=600_000,
            description="How long a request may take from its arrival: body, session and statements included.",
        ),
    ] = 15_000
    cost_per_minute_max: Annotated[
        int,
        Field(
            ge=0,
            description="Cost that a user, or a caller without a sign-in, may use of a worker in a minute; "
            "0: no limit.",
        ),
    ] = 1_000_000
    cost_per_minute_per_address_max: Annotated[
        int,
        Field(ge=0, description="Cost that all callers of one address may use of a worker in a minute; 0: no limit."),
    ] = 5_000_000
    passwords_per_minute_per_address_max: Annotated[
        int,
        Field(
            ge=0,
            description="Operations that check or set a password, or refresh a session, which all callers of one "
            "address may send to a worker in a minute; 0: no limit.",
        ),
    ] = 300
    batch_operations_max: Annotated[
        int, Field(ge=0, le=100, description="Operations in one HTTP request, as a JSON list; 0: no batching.")
    ] = 0
    compress_bytes_min: Annotated[
        int, Field(ge=0, le=104_857_600, description="Size from which answers are gzipped; 0: never.")
    ] = 2_048
    cors_origins: Annotated[
        str,
        Field(
            description="Origins whose pages may call the API, separated by commas, for example "
            "`https://app.example.org`. Default: in development `http://localhost`, `127.0.0.1` and `[::1]` "
            "with any port, in production none."
        ),
    ] = ""
    trusted_documents: Annotated[
        Literal["off", "only"], Field(description="`only`: only the documents of the manifest run.")
    ] = "off"
    trusted_documents_file: Annotated[
        Path | None, Field(description="The manifest, as `folio documents build` writes it.")
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="The least severe message that is logged.")
    ] = "info"
    log_format: Annotated[
        Literal["json", "line"] | None,
        Field(description="One JSON object or one readable line for each message. Default: `json` in production."),
    ] = None
    metrics: Annotated[
        bool | None,
        Field(description="Serve `/metrics` for Prometheus, on the same port. Default: not in production."),
    ] = None
    otlp_endpoint: Annotated[
        str,
        Field(
            description="Collector of OpenTelemetry spans, for example `http://host:4318`; needs the extra `telemetry`."
        ),
    ] = ""

    @field_validator("database_url")
    @classmethod
    def _postgres_only(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(async_url(value.get_secret_value()))

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        text = "" if value is None else value.get_secret_value()
        too_weak = len(text) < SECRET_KEY_MIN_LENGTH or len(set(text)) < SECRET_KEY_MIN_DISTINCT
        if value is not None and too_weak:
            raise ValueError(
                f"should have at least {SECRET_KEY_MIN_LENGTH} characters that do not repeat, "
                "for example the output of `openssl rand -base64 48`"
            )
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins_only(cls, value: str) -> str:
        for origin in filter(None, (part.strip() for part in value.split(","))):
            if not re.fullmatch(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?", origin):
                raise ValueError(f"should be origins such as https://app.example.org; {origin!r} is not one")
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _collector_only(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[a-zA-Z0-9.-]+(:[0-9]{1,5})?(/[a-zA-Z0-9._/-]*)?", value):
            raise ValueError(
                f"should be the address of a collector such as http://127.0.0.1:4318; {value!r} is not one"
            )
        return value

    @model_validator(mode="after")
    def _production_is_explicit(self) -> Self:
        if self.env == "production":
            missing = [name for name in ("database_url", "secret_key") if getattr(self, name) is None]
            if missing:
                names = " and ".join(PREFIX + name.upper() for name in missing)
                raise ValueError(f"{names} must be set if {PREFIX}ENV is production")
        return self

    def shows(self, what: Shown) -> bool:
        """Return whether `what` is shown: its value, or everywhere but in production if it is not set."""
        chosen: bool | None = getattr(self, what)
        return self.env != "production" if chosen is None else chosen

    def in_force(self, name: str) -> object:
        """Return the effective value of a setting, also if it is not set and depends on `env`; None means no value."""
        for shown in get_args(Shown):
            if name == shown:
                return self.shows(shown)
        if name == "log_format":
            return "json" if self.logs_json else "line"
        value: object = getattr(self, name)
        return value

    @property
    def logs_json(self) -> bool:
        """Whether a log message is a JSON object: as set, or in production if it is not set."""
        return self.log_format == "json" if self.log_format else self.env == "production"


def load_settings() -> Settings:
    """Read the settings from the environment, which overrides `.env` in the working directory.

    Raises:
        SettingsError: a value is not allowed, a required one is missing, or a `FOLIO_*` variable is not a setting.
    """
    in_file = dotenv_values(ENV_FILE) if ENV_FILE.is_file() else {}
    _refuse_unknown({*in_file, *os.environ})
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(_wording(error)) from None


class Origin(Enum):
    """The source of the value of a setting."""

    ENVIRONMENT = "environment"
    FILE = str(ENV_FILE)
    DEFAULT = "default"


def origins() -> dict[str, Origin]:
    """Return the source of the value that `load_settings` returns now for each setting, by the setting's name."""
    in_file = dotenv_values(ENV_FILE) if ENV_FILE.is_file() else {}
    # The rules of pydantic-settings: the case is ignored, and an empty variable counts as not set.
    sources = ((Origin.ENVIRONMENT, os.environ), (Origin.FILE, in_file))
    by_name = dict.fromkeys(Settings.model_fields, Origin.DEFAULT)
    for origin, variables in reversed(sources):
        set_variables = {variable.upper() for variable, value in variables.items() if value}
        by_name |= {name: origin for name in by_name if PREFIX + name.upper() in set_variables}
    return by_name


def _refuse_unknown(variables: set[str]) -> None:
    known = set(Settings.model_fields)
    for variable in sorted(variables):
        name = variable.upper().removeprefix(PREFIX).lower()
        if variable.upper().startswith(PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {PREFIX}{close[0].upper()}?" if close else "; `folio settings` lists them all"
            raise SettingsError(f"{variable} is not a setting{hint}")


def _wording(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False, include_context=False):
        message = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if not item["loc"]:
            lines.append(message)
            continue
        name = str(item["loc"][0])
        secret = name in {"database_url", "secret_key"}
        value = "is set to a value that is not repeated here; it" if secret else f"is {item['input']!r}; it"
        lines.append(f"{PREFIX}{name.upper()} {value} {message}")
    return "\n".join(lines)
