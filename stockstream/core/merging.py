"""Three-way merge of JSON: what one side touched is kept, what both touched is told apart.

Objects merge by field, at every depth. Lists merge by element where elements have an identity: all
of them objects with an ``id`` of their own, or all of them different scalars, as the symbols of a
watchlist are. Anything else is one value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from stockstream.wire.canonical import canonical, parse


class Absence(Enum):
    """Where a side has nothing: not even null."""

    ABSENT = "absent"


ABSENT: Final = Absence.ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """A value that both sides changed, and not to the same."""

    #: Names of fields and identities of elements that lead to it; empty: the whole document.
    path: tuple[str, ...]
    #: What each side has; :data:`ABSENT` where it removed it.
    base: Any
    client: Any
    server: Any


#: Says which value takes the place of a clash.
Choose = Callable[[Clash], Any]


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON: true is not 1, but 1.0 is."""
    if one is ABSENT or other is ABSENT:
        return one is other
    # Python's comparison is quick; where it says yes it may have taken true for 1.
    if one != other:
        return False
    kind = type(one)
    if kind is type(other) and kind is not dict and kind is not list:
        return True
    return one is other or canonical(one) == canonical(other)


def merge(
    base: Any, client: Any, server: Any, choose: Choose, *, path: tuple[str, ...] = ()
) -> Any:
    """Return what the two sides made of ``base``, together.

    Args:
        base: what both began with; :data:`ABSENT` where there was nothing.
        client: what the client has now.
        server: what the server has now.
        choose: decides about each clash; called in a fixed order.
        path: where in the document this is.
    """
    if same(client, server) or same(base, server):
        return client
    if same(base, client):
        return server
    if isinstance(client, dict) and isinstance(server, dict):
        return _merge_objects(base if isinstance(base, dict) else {}, client, server, choose, path)
    if isinstance(client, list) and isinstance(server, list):
        before = _elements(base if isinstance(base, list) else [])
        here, there = _elements(client), _elements(server)
        if before is not None and here is not None and there is not None:
            return _merge_lists(before, here, there, choose, path)
    return choose(Clash(path=path, base=base, client=client, server=server))


def pointer(path: Sequence[str]) -> str:
    """Return a path as a JSON pointer (RFC 6901)."""
    return "".join(f"/{each.replace('~', '~0').replace('/', '~1')}" for each in path)


_Object = dict[str, Any]


def _merge_objects(
    base: _Object,
    client: _Object,
    server: _Object,
    choose: Choose,
    path: tuple[str, ...],
    *,
    label: Callable[[str], str] = str,
) -> _Object:
    merged: _Object = {}
    for name in sorted({*client, *server}):
        value = merge(
            base.get(name, ABSENT),
            client.get(name, ABSENT),
            server.get(name, ABSENT),
            choose,
            path=(*path, label(name)),
        )
        if value is not ABSENT:
            merged[name] = value
    return merged


def _merge_lists(
    base: _Object, client: _Object, server: _Object, choose: Choose, path: tuple[str, ...]
) -> Any:
    merged = _merge_objects(base, client, server, choose, path, label=_shown)

    def ordered(first: _Object, second: _Object) -> list[Any]:
        return [merged[each] for each in _order(base, first, second) if each in merged]

    common = client.keys() & server.keys() & base.keys()
    before, here, there = (
        [each for each in side if each in common] for side in (base, client, server)
    )
    if here in (before, there):
        return ordered(server, client)
    if before == there:
        return ordered(client, server)
    clash = Clash(
        path=path, base=ABSENT, client=ordered(client, server), server=ordered(server, client)
    )
    return choose(clash)


def _order(base: _Object, first: _Object, second: _Object) -> list[str]:
    """Return the order of the first, and behind what they stood behind, what the second adds."""
    added: dict[str | None, list[str]] = {}
    anchor: str | None = None
    for each in second:
        if each in first:
            anchor = each
        else:
            added.setdefault(anchor, []).append(each)
    order: list[str] = []
    waiting = added.get(None, [])
    for each in first:
        if each in base:
            # What the first adds in the same place goes first.
            order += waiting
            waiting = []
        order.append(each)
        waiting = waiting + added.get(each, [])
    return order + waiting


def _elements(values: list[Any]) -> _Object | None:
    """Return the elements by their identities, as JSON; None where they have none."""
    elements: _Object = {}
    objects = bool(values) and isinstance(values[0], dict)
    for each in values:
        if isinstance(each, dict) is not objects or isinstance(each, list):
            return None
        identity = each.get("id") if objects else each
        if objects and (isinstance(identity, bool) or not isinstance(identity, str | int | float)):
            return None
        elements[canonical(identity)] = each
    return elements if len(elements) == len(values) else None


def _shown(identity: str) -> str:
    """Return what an element is called in a path."""
    value = parse(identity)
    return value if isinstance(value, str) else identity
