"""Reads derived symbols out of settings, and refuses what can't be one."""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from math import isfinite
from typing import Final

from msgspec.structs import replace

from stockstream.core.tables import Table, read_tables
from stockstream.errors import ConfigError
from stockstream.model import Symbol, Timeframe
from stockstream.model.derived import Basket, Derived, Rolling

_SETTING: Final = "DERIVED"
_MOST: Final = 1_000
_CHOICES: Final = {
    "kind": ", ".join(sorted(kind.__struct_config__.tag for kind in Derived.__args__)),
    "timeframe": ", ".join(Timeframe),
}


def read_derived(tables: Mapping[str, object]) -> dict[Symbol, Derived]:
    """Return what the tables define; whatever is made of others comes after them.

    Args:
        tables: by the name of the derived symbol, in either case.

    Raises:
        ConfigError: a name is no symbol, or a table says something that can't be; it names both.
    """
    found = {
        symbol: _definition(table) for symbol, table in read_tables(_SETTING, tables, _MOST).items()
    }
    return {symbol: found[symbol] for symbol in _ordered(found)}


def _definition(table: Table) -> Derived:
    definition: Derived = table.convert(Derived, _CHOICES)
    if isinstance(definition, Basket):
        return _basket(table, definition)
    of = table.symbol(definition.of, "of")
    if isinstance(definition, Rolling):
        return replace(definition, of=of)
    by = table.symbol(definition.by, "by")
    if of == by:
        raise table.refusal("must be another symbol than OF", "by")
    return replace(definition, of=of, by=by)


def _basket(table: Table, basket: Basket) -> Basket:
    weights = {table.symbol(name, "weights"): weight for name, weight in basket.weights.items()}
    if len(weights) < len(basket.weights):
        raise table.refusal("has a symbol twice: symbols are upper-cased", "weights")
    if not all(isfinite(weight) and weight for weight in weights.values()):
        raise table.refusal("each weight must be a number other than 0", "weights")
    return replace(basket, weights=weights)


def _ordered(found: Mapping[Symbol, Derived]) -> list[Symbol]:
    graph = {
        symbol: [each for each in definition.inputs if each in found]
        for symbol, definition in found.items()
    }
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = error.args[1]
        path = " of ".join(circle[::-1])
        raise ConfigError(f"{_SETTING}.{circle[-1]}", path, "is made of itself") from None
