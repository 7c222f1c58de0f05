"""Completes updates by reference data (documented step "enrich", section 4.1)."""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from stockstream.core.operators import Operator, enrich
from stockstream.core.tables import read_tables
from stockstream.model import StockUpdate, Symbol
from stockstream.model.reference import Reference

#: Most symbols that there are reference data of.
MAX_ROWS: Final = 200_000


def read_reference(setting: str, tables: Mapping[str, object]) -> dict[Symbol, Reference]:
    """Return reference data by symbol.

    Args:
        setting: what the error is to name.
        tables: by symbol, in either case.

    Raises:
        ConfigError: a name is no symbol, or a table says something that can't be; it names both.
    """
    found = read_tables(setting, tables, MAX_ROWS)
    return {symbol: table.convert(Reference) for symbol, table in found.items()}


def enricher(table: Mapping[Symbol, Reference]) -> Operator[StockUpdate, StockUpdate]:
    """Return the operator that gives updates name, currency and exchange of their symbol."""
    return enrich(table, key=_symbol, merge=_described)


def _symbol(update: StockUpdate) -> Symbol:
    return update.symbol


def _described(update: StockUpdate, row: Reference) -> StockUpdate:
    return replace(update, name=row.name, currency=row.currency, exchange=row.exchange)
