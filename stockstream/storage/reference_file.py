"""Reference data in a CSV file: `symbol,name,currency,exchange,previous_close`."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from stockstream.core.reference import MAX_ROWS, read_reference
from stockstream.errors import ConfigError
from stockstream.model import Symbol
from stockstream.model.reference import Reference

_SETTING: Final = "REFERENCE_FILE"
_COLUMNS: Final = ("symbol", "name", "currency", "exchange", "previous_close")


def load_reference(path: Path | None) -> dict[Symbol, Reference]:
    """Return what a file says: UTF-8, a header, any of the columns besides ``symbol``.

    Blank is unknown. Where there is no file, nothing is known.

    Raises:
        ConfigError: it can't be read, or a line of it can't be; the message names the line.
    """
    found: dict[Symbol, Reference] = {}
    if path is None:
        return found
    try:
        # Spreadsheets begin a file of UTF-8 with a mark.
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in _rows(path, csv.DictReader(file)):
                found.update(_read_row(path, number, row))
                if len(found) > MAX_ROWS:
                    raise ConfigError(_SETTING, str(path), f"has more than {MAX_ROWS:,} symbols")
    except OSError as error:
        raise ConfigError(_SETTING, str(path), error.strerror or "can't be read") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(_SETTING, str(path), f"is no CSV in UTF-8: {error}") from None
    return found


def _rows(path: Path, reader: "csv.DictReader[str]") -> Iterator[tuple[int, dict[str, str | None]]]:
    columns = reader.fieldnames or ()
    if "symbol" not in columns or not set(columns) <= set(_COLUMNS):
        raise ConfigError(_SETTING, str(path), f"the first line must name {', '.join(_COLUMNS)}")
    for row in reader:
        yield reader.line_num, row


def _read_row(path: Path, number: int, row: dict[str, str | None]) -> dict[Symbol, Reference]:
    if None in row:
        raise ConfigError(_SETTING, str(path), f"line {number} has too many fields")
    values: dict[str, Any] = {name: text.strip() for name, text in row.items() if text}
    values = {name: text for name, text in values.items() if text}
    symbol = values.pop("symbol", "")
    try:
        if "previous_close" in values:
            values["previous_close"] = float(values["previous_close"])
        return read_reference(_SETTING, {symbol: values})
    except (ValueError, ConfigError) as error:
        raise ConfigError(_SETTING, str(path), f"line {number}: {error}") from None
