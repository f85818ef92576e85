"""`folio settings`: lists every setting with its value, its origin and its meaning. It changes nothing."""

from pydantic import SecretStr
from rich.markup import escape
from rich.table import Table

from db.settings import PREFIX, Settings, load_settings, origins
from graph.cli.support.terminal import out


def settings() -> None:
    """List every setting with its value, its origin and its meaning."""
    chosen = load_settings()
    came_from = origins()
    table = Table("Variable", "Value", "From", "Meaning")
    for name, field in Settings.model_fields.items():
        origin = came_from[name]
        table.add_row(PREFIX + name.upper(), escape(_shown(chosen, name)), origin.value, field.description)
    out.print(table)


def _shown(chosen: Settings, name: str) -> str:
    value = chosen.in_force(name)
    if isinstance(value, SecretStr):
        return "(secret)"
    if value is None:
        return _UNSET.get(name, "")
    return str(value).lower() if isinstance(value, bool) else str(value)


# What development uses where these are not set.
_UNSET = {"database_url": "(the embedded server)", "secret_key": "(generated at the first start)"}
