"""Settings: which values are accepted, and with which message all others are refused."""

import os
from pathlib import Path
from typing import Literal

import pytest
from pydantic import ValidationError

from db.settings import Settings, SettingsError, async_url, load_settings

URL = "postgresql://folio:hunter2@db.example.org:5433/ledger"
SECRET = "b0aNd8eQ1uL5xT7rW2yZ4kP6mC9hG3vJ"
NOT_REPEATED = "is set to a value that is not repeated here; it "
SHAPE = "should look like postgresql://user:password@host:5432/database"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in os.environ:
        if variable.upper().startswith("FOLIO_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """Return the message with which settings with these variables are refused."""
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return str(caught.value)


def loaded_url(monkeypatch: pytest.MonkeyPatch, url: str) -> str:
    monkeypatch.setenv("FOLIO_DATABASE_URL", url)
    loaded = load_settings().database_url
    assert loaded is not None
    return loaded.get_secret_value()


def test_defaults_are_those_of_development() -> None:
    settings = load_settings()
    assert (settings.env, settings.database_url, settings.secret_key) == ("development", None, None)
    assert (settings.pool_size, settings.pool_max_overflow, settings.data_dir) == (8, 4, Path(".folio"))


def test_environment_sets_values_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLIO_POOL_SIZE", "3")
    monkeypatch.setenv("FOLIO_POOL_TIMEOUT_S", "0.5")
    monkeypatch.setenv("FOLIO_POOL_PRE_PING", "true")
    settings = load_settings()
    assert (settings.pool_size, settings.pool_timeout_s, settings.pool_pre_ping) == (3, 0.5, True)


def test_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLIO_POOL_SIZE", "")
    monkeypatch.setenv("FOLIO_DATABASE_URL", "")
    settings = load_settings()
    assert (settings.pool_size, settings.database_url) == (8, None)


def test_variables_without_the_prefix_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL_SIZE", "many")
    monkeypatch.setenv("PORTFOLIO_SIZE", "many")
    assert load_settings().pool_size == 8


def test_settings_never_change() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.pool_size = 9
    assert settings.pool_size == 8


# ---------------------------------------------------------------- .env


def test_env_file_of_the_working_directory_is_read() -> None:
    Path(".env").write_text("FOLIO_POOL_SIZE=3\n# a comment\nFOLIO_LOG_LEVEL='debug'\nSOMEBODY_ELSES=1\n")
    settings = load_settings()
    assert (settings.pool_size, settings.log_level) == (3, "debug")


def test_environment_outranks_the_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("FOLIO_POOL_SIZE=3\nFOLIO_LOG_LEVEL=debug\n")
    monkeypatch.setenv("FOLIO_POOL_SIZE", "5")
    settings = load_settings()
    assert (settings.pool_size, settings.log_level) == (5, "debug")


def test_bad_value_in_the_env_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("FOLIO_POOL_SIZE=0\n")
    assert refusal(monkeypatch) == "FOLIO_POOL_SIZE is '0'; it should be greater than or equal to 1"


def test_unknown_variable_in_the_env_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("FOLIO_POOLSIZE=3\n")
    assert refusal(monkeypatch) == "FOLIO_POOLSIZE is not a setting; did you mean FOLIO_POOL_SIZE?"


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("FOLIO_POOL_SIZE", "many", "should be a valid integer, unable to parse string as an integer"),
        ("FOLIO_POOL_SIZE", "1.5", "should be a valid integer, unable to parse string as an integer"),
        ("FOLIO_POOL_SIZE", "0", "should be greater than or equal to 1"),
        ("FOLIO_POOL_SIZE", "1001", "should be less than or equal to 1000"),
        ("FOLIO_POOL_TIMEOUT_S", "0", "should be greater than 0"),
        ("FOLIO_POOL_TIMEOUT_S", "nan", "should be less than or equal to 300"),
        ("FOLIO_CONNECT_TIMEOUT_S", "soon", "should be a valid number, unable to parse string as a number"),
        ("FOLIO_GRAPHIQL", "perhaps", "should be a valid boolean, unable to interpret input"),
        ("FOLIO_ENV", "staging", "should be 'development' or 'production'"),
        ("FOLIO_LOG_LEVEL", "loud", "should be 'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_bad_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, wanted: str) -> None:
    assert refusal(monkeypatch, **{variable: value}) == f"{variable} is {value!r}; it {wanted}"


def test_every_bad_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, FOLIO_POOL_SIZE="0", FOLIO_POOL_MAX_OVERFLOW="-1") == (
        "FOLIO_POOL_SIZE is '0'; it should be greater than or equal to 1\n"
        "FOLIO_POOL_MAX_OVERFLOW is '-1'; it should be greater than or equal to 0"
    )


def test_unknown_variable_is_refused_with_the_closest_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, FOLIO_DATABSE_URL=URL) == (
        "FOLIO_DATABSE_URL is not a setting; did you mean FOLIO_DATABASE_URL?"
    )


def test_unknown_variable_in_lower_case_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, folio_poolsize="3") == "folio_poolsize is not a setting; did you mean FOLIO_POOL_SIZE?"


def test_unknown_variable_without_a_similar_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, FOLIO_XYZZY="1") == "FOLIO_XYZZY is not a setting; `folio settings` lists them all"


# ---------------------------------------------------------------- production


def test_production_without_url_and_secret_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, FOLIO_ENV="production") == (
        "FOLIO_DATABASE_URL and FOLIO_SECRET_KEY must be set if FOLIO_ENV is production"
    )


def test_production_without_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, FOLIO_ENV="production", FOLIO_SECRET_KEY=SECRET) == (
        "FOLIO_DATABASE_URL must be set if FOLIO_ENV is production"
    )


def test_production_without_secret_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, FOLIO_ENV="production", FOLIO_DATABASE_URL=URL) == (
        "FOLIO_SECRET_KEY must be set if FOLIO_ENV is production"
    )


def test_production_with_url_and_secret_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLIO_ENV", "production")
    monkeypatch.setenv("FOLIO_SECRET_KEY", SECRET)
    assert loaded_url(monkeypatch, URL) == "postgresql+asyncpg://folio:hunter2@db.example.org:5433/ledger"
    settings = load_settings()
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == SECRET


@pytest.mark.parametrize("what", ["graphiql", "introspection", "suggestions"])
@pytest.mark.parametrize(
    ("env", "chosen", "shown"),
    [
        ("development", None, True),
        ("development", False, False),
        ("development", True, True),
        ("production", None, False),
        ("production", False, False),
        ("production", True, True),
    ],
)
def test_only_production_hides_features_by_default(
    what: Literal["graphiql", "introspection", "suggestions"],
    env: Literal["development", "production"],
    chosen: bool | None,
    shown: bool,
) -> None:
    settings = Settings().model_copy(update={"env": env, what: chosen})
    assert settings.shows(what) is shown


# ---------------------------------------------------------------- secrets


@pytest.mark.parametrize("secret", ["short", SECRET[:31], "a" * 64, "abcdefg" * 8])
def test_weak_secret_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    assert refusal(monkeypatch, FOLIO_SECRET_KEY=secret) == (
        f"FOLIO_SECRET_KEY {NOT_REPEATED}should have at least 32 characters that do not repeat, "
        "for example the output of `openssl rand -base64 48`"
    )


def test_secrets_are_in_no_representation_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLIO_SECRET_KEY", SECRET)
    monkeypatch.setenv("FOLIO_DATABASE_URL", URL)
    settings = load_settings()
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "hunter2" not in shown
        assert SECRET not in shown


# ---------------------------------------------------------------- the URL


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("postgresql://u:p@h:5432/d", "postgresql+asyncpg://u:p@h:5432/d"),
        ("postgres://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql+asyncpg://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql://u:p%40ss@h/d?sslmode=require", "postgresql+asyncpg://u:p%40ss@h/d?ssl=require"),
        ("postgresql://u@h/d?ssl=verify-full", "postgresql+asyncpg://u@h/d?ssl=verify-full"),
        ("postgresql://u@/d?host=/run/postgresql", "postgresql+asyncpg://u@/d?host=%2Frun%2Fpostgresql"),
        ("postgresql://u@/d?host=a:1&host=b:2", "postgresql+asyncpg://u@/d?host=a%3A1&host=b%3A2"),
    ],
)
def test_url_is_converted_to_the_driver_and_its_parameters(
    monkeypatch: pytest.MonkeyPatch, given: str, ours: str
) -> None:
    assert loaded_url(monkeypatch, given) == ours
    assert async_url(ours) == ours


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("mysql://u:hunter2@h/d", f"{SHAPE}; its scheme is 'mysql'"),
        ("postgresql+psycopg://u:hunter2@h/d", f"{SHAPE}; its scheme is 'postgresql+psycopg'"),
        ("u:hunter2@h/d", SHAPE),
        ("hunter2", SHAPE),
        # In a URL without a host, the password is where the port belongs.
        ("postgresql://u:hunter2", SHAPE),
        ("postgresql://u:hunter2/d", SHAPE),
        ("postgresql://u:hunter2@h:port/d", SHAPE),
        (
            "postgresql://u:hunter2@h/d?application_name=x",
            f"{SHAPE}; the parameter 'application_name' is not supported (host, port and sslmode are)",
        ),
        (
            "postgresql://u@h/d?password=hunter2",
            f"{SHAPE}; the parameter 'password' is not supported (host, port and sslmode are)",
        ),
        (
            "postgresql://u:hunter2@h/d?sslmode=maybe",
            f"{SHAPE}; its sslmode should be one of disable, allow, prefer, require, verify-ca, verify-full",
        ),
        (
            "postgresql://u:hunter2@h/d?sslmode=require&sslmode=disable",
            f"{SHAPE}; its sslmode should be one of disable, allow, prefer, require, verify-ca, verify-full",
        ),
    ],
)
def test_other_url_is_refused_and_its_password_not_repeated(
    monkeypatch: pytest.MonkeyPatch, url: str, wanted: str
) -> None:
    assert refusal(monkeypatch, FOLIO_DATABASE_URL=url) == f"FOLIO_DATABASE_URL {NOT_REPEATED}{wanted}"
