"""Tables of settings, one for each symbol: `[derived.SAMSUNG_USD]`, `[reference.AAPL]`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from stockstream.errors import ConfigError, InvalidSymbolError
from stockstream.model import Symbol, parse_symbol

#: What people call the types that msgspec names.
_PLAIN: Final = {
    "float": "a number",
    "int": "a whole number",
    "str": "a text",
    "object": "a table",
}


@dataclass(frozen=True, slots=True)
class Table:
    """What a setting says of one symbol."""

    #: Name of the setting, and of the table as it was written.
    setting: str
    name: str
    values: Mapping[str, Any]

    def refusal(self, allowed: str, field: str = "") -> ConfigError:
        """Return the error that names a field, or the table as a whole, and its value."""
        path = f"{self.setting}.{self.name}"
        if not field:
            return ConfigError(path, dict(self.values), allowed)
        return ConfigError(f"{path}.{field.upper()}", self.values.get(field), allowed)

    def symbol(self, text: str, field: str = "") -> Symbol:
        """Return a symbol that the table, or a field of it, names; raises ConfigError."""
        try:
            return parse_symbol(text)
        except InvalidSymbolError as error:
            raise self.refusal(str(error), field) from None

    def convert(self, kind: Any, choices: Mapping[str, str] | None = None) -> Any:
        """Return the values as a model.

        Args:
            kind: a msgspec struct, or a union of some.
            choices: what is allowed of a field whose values have names.

        Raises:
            ConfigError: they can't be one.
        """
        try:
            return msgspec.convert(dict(self.values), kind)
        except msgspec.ValidationError as error:
            raise self._explained(str(error), choices or {}) from None

    def _explained(self, message: str, choices: Mapping[str, str]) -> ConfigError:
        """Return what msgspec says, in the words of settings."""
        said, _, path = message.partition(" - at `$.")
        said, named, field = said.partition(" field `")
        field = field.rstrip("`") or path.rstrip("`").partition("[")[0]
        if field in choices:
            return self.refusal(f"must be one of {choices[field]}", field)
        if not named:
            return self.refusal(_in_plain_words(said), field)
        return self.refusal("is needed" if "required" in said else "is no such setting", field)


def _in_plain_words(said: str) -> str:
    said = said.partition(", got ")[0].replace(" | null", "").replace("Expected", "must be", 1)
    for name, plain in _PLAIN.items():
        said = said.replace(f"`{name}`", plain)
    return said


def read_tables(setting: str, tables: Mapping[str, object], limit: int) -> dict[Symbol, Table]:
    """Return the tables of a setting by symbol.

    Args:
        setting: its name.
        tables: what it holds, by symbols in either case.
        limit: most of them.

    Raises:
        ConfigError: a name is no symbol or comes twice, what it names is no table, or there are
            too many.
    """
    if len(tables) > limit:
        raise ConfigError(setting, len(tables), f"at most {limit:,} of them")
    found: dict[Symbol, Table] = {}
    for name, values in tables.items():
        if not isinstance(values, Mapping):
            raise ConfigError(f"{setting}.{name}", values, "must be a table")
        table = Table(setting, name, values)
        symbol = table.symbol(name)
        if symbol in found:
            raise table.refusal(f"there are two of {symbol}: symbols are upper-cased")
        found[symbol] = table
    return found
