"""What becomes of a change that was made without knowing another (documented, section 6.1).

A strategy is a function without side effects: what a client has, what the server has, and what
both began with, where that is known. It may run while the store is locked, and again.

Where the base is known, all strategies of this module keep what only one side touched, field by
field; they differ in what becomes of a field that both did. Where it is not, ``client_wins``,
``server_wins`` and ``last_write_wins`` take one side as a whole.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stockstream.core.merging import ABSENT, Clash, merge, pointer, same
from stockstream.core.stock_data import merge_stock_data
from stockstream.model.document import Unmerged
from stockstream.wire.canonical import canonical


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """A change and a document that has changed since."""

    #: Objects as JSON has them; :data:`ABSENT` where a side has deleted the document.
    client: Any
    server: Any
    #: What both began with; :data:`ABSENT` where that was nothing, or is not known.
    base: Any = ABSENT
    #: Whether it is known.
    base_known: bool = False
    #: Whether the server received the client's change after the one that it has.
    client_is_later: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What a strategy makes of two sides."""

    #: The document from now on; :data:`ABSENT`: it is deleted.
    value: Any = ABSENT
    #: What the client changed and did not get, because the server's side was kept.
    unmerged: tuple[Unmerged, ...] = ()
    #: Top-level fields that wait for the user; where there are any, nothing changes yet.
    conflicting_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictResolutionStrategy:
    """A way to resolve conflicts (documented)."""

    #: What items and settings call it.
    name: str
    description: str
    resolve: Callable[[Sides], Resolution]


class UnknownStrategyError(LookupError):
    """No strategy has that name."""


class ConflictResolutionEngine:
    """The strategies by name (documented)."""

    def __init__(self) -> None:
        self._strategies = {each.name: each for each in _DEFAULTS}

    @property
    def strategies(self) -> Mapping[str, ConflictResolutionStrategy]:
        """All of them, by name."""
        return self._strategies

    def add_strategy(self, strategy: ConflictResolutionStrategy) -> None:
        """Let items name a strategy; one of the same name gives way (documented)."""
        self._strategies[strategy.name] = strategy

    def get_strategy(self, name: str) -> ConflictResolutionStrategy | None:
        """Return a strategy, None where there is none of that name (documented)."""
        return self._strategies.get(name)

    def get_all_strategies(self) -> list[ConflictResolutionStrategy]:
        """Return all strategies (documented)."""
        return list(self._strategies.values())

    def resolve_conflict(self, sides: Sides, name: str) -> Resolution:
        """Resolve a conflict (documented); where there is none, return what both agree on.

        Raises:
            UnknownStrategyError: there is no such strategy.
        """
        strategy = self._strategies.get(name)
        if strategy is None:
            raise UnknownStrategyError(name)
        if same(sides.client, sides.server):
            return Resolution(value=sides.server)
        return strategy.resolve(sides)


def _client_wins(sides: Sides) -> Resolution:
    if not sides.base_known:
        return Resolution(value=sides.client)
    return Resolution(
        value=merge(sides.base, sides.client, sides.server, lambda clash: clash.client)
    )


def _server_wins(sides: Sides) -> Resolution:
    if not sides.base_known:
        return Resolution(value=sides.server, unmerged=(_whole(sides),))
    return _keeping_the_servers(sides, edits_outlive_removals=False)


def _last_write_wins(sides: Sides) -> Resolution:
    return _client_wins(sides) if sides.client_is_later else _server_wins(sides)


def _merge(sides: Sides) -> Resolution:
    if sides.client is ABSENT and not sides.base_known:
        # Who deletes without saying what, means what there is.
        return Resolution(value=ABSENT)
    return _keeping_the_servers(sides, edits_outlive_removals=True)


def _manual(sides: Sides) -> Resolution:
    clashes: list[Clash] = []

    def note(clash: Clash) -> Any:
        clashes.append(clash)
        return clash.server

    if sides.client is ABSENT and not sides.base_known:
        return Resolution(value=sides.server, conflicting_fields=_fields_of(sides))
    value = merge(sides.base, sides.client, sides.server, note)
    if any(not clash.path for clash in clashes):
        return Resolution(value=sides.server, conflicting_fields=_fields_of(sides))
    fields = tuple(dict.fromkeys(clash.path[0] for clash in clashes))
    return Resolution(value=value, conflicting_fields=fields)


def _stock_data(sides: Sides) -> Resolution:
    if sides.client is ABSENT or sides.server is ABSENT:
        return _merge(sides)
    rest = _keeping_the_servers(sides, edits_outlive_removals=True)
    value, settled = merge_stock_data(sides.base, sides.client, sides.server, rest.value)
    unmerged = tuple(each for each in rest.unmerged if each.path.split("/")[1] not in settled)
    return Resolution(value=value, unmerged=unmerged)


def _keeping_the_servers(sides: Sides, *, edits_outlive_removals: bool) -> Resolution:
    unmerged: list[Unmerged] = []

    def choose(clash: Clash) -> Any:
        if edits_outlive_removals and clash.server is ABSENT:
            return clash.client
        unmerged.append(
            Unmerged(
                path=pointer(clash.path), client=_text(clash.client), server=_text(clash.server)
            )
        )
        return clash.server

    value = merge(sides.base, sides.client, sides.server, choose)
    return Resolution(value=value, unmerged=tuple(unmerged))


def _fields_of(sides: Sides) -> tuple[str, ...]:
    client = {} if sides.client is ABSENT else sides.client
    server = {} if sides.server is ABSENT else sides.server
    return tuple(
        name
        for name in sorted({*client, *server})
        if not same(client.get(name, ABSENT), server.get(name, ABSENT))
    )


def _whole(sides: Sides) -> Unmerged:
    return Unmerged(path="", client=_text(sides.client), server=_text(sides.server))


def _text(value: Any) -> str | None:
    return None if value is ABSENT else canonical(value)


_DEFAULTS: Final = (
    ConflictResolutionStrategy(
        name="client_wins",
        description="What both sides changed becomes what the client sent.",
        resolve=_client_wins,
    ),
    ConflictResolutionStrategy(
        name="server_wins",
        description="What both sides changed stays what it is on the server.",
        resolve=_server_wins,
    ),
    ConflictResolutionStrategy(
        name="last_write_wins",
        description="What both sides changed becomes what the server received last.",
        resolve=_last_write_wins,
    ),
    ConflictResolutionStrategy(
        name="merge",
        description="Both sides together; what can't be merged stays, and the client is told.",
        resolve=_merge,
    ),
    ConflictResolutionStrategy(
        name="manual",
        description="Both sides are kept until the user decides.",
        resolve=_manual,
    ),
    ConflictResolutionStrategy(
        name="stock_data",
        description="The newest price, the higher volume, time series joined by timestamp.",
        resolve=_stock_data,
    ),
)
