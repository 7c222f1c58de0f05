"""The laws of resolving conflicts, and what each strategy promises."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stockstream.core.conflict_resolution import (
    ConflictResolutionEngine,
    ConflictResolutionStrategy,
    Resolution,
    Sides,
    UnknownStrategyError,
)
from stockstream.core.merging import ABSENT, same
from stockstream.model.document import Unmerged
from stockstream.wire.canonical import canonical

ENGINE = ConflictResolutionEngine()
NAMES = sorted(ENGINE.strategies)

scalars = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["a", "b", 0.5])
#: Lists with identity, and such without.
symbols = st.lists(st.sampled_from("ABCDE"), max_size=4)
objects_with_ids = st.lists(
    st.fixed_dictionaries({"id": st.integers(1, 4)}, optional={"x": scalars}), max_size=4
)
values = st.recursive(
    scalars | symbols | objects_with_ids,
    lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, max_size=3) | st.lists(inner),
    max_leaves=6,
)
documents = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)
flat_documents = st.dictionaries(st.sampled_from("abcd"), scalars, max_size=4)
market = st.fixed_dictionaries(
    {},
    optional={
        "price": st.integers(1, 3),
        "timestamp": st.integers(1, 3),
        "volume": st.integers(0, 3),
        "name": scalars,
        "historicalData": st.lists(
            st.fixed_dictionaries({"timestamp": st.integers(1, 3), "close": st.integers(1, 2)}),
            max_size=3,
        ),
    },
)
anything = documents | market
names = st.sampled_from(NAMES)


@st.composite
def edits(draw: st.DrawFn, count: int = 2, what: Any = anything) -> tuple[Any, ...]:
    """A document, and so many versions of it that began with it."""
    base = draw(what)
    versions = []
    for _ in range(count):
        changed = {**base, **draw(what)}
        for field in draw(
            st.lists(st.sampled_from(sorted(changed)), max_size=2) if changed else st.just([])
        ):
            changed.pop(field, None)
        versions.append(changed)
    return (base, *versions)


def resolve(
    name: str, base: Any, client: Any, server: Any, *, known: bool = True, later: bool = True
) -> Resolution:
    sides = Sides(
        client=client,
        server=server,
        base=base if known else ABSENT,
        base_known=known,
        client_is_later=later,
    )
    return ENGINE.resolve_conflict(sides, name)


def touched(base: Any, side: Any, field: str) -> bool:
    return not same(base.get(field, ABSENT), side.get(field, ABSENT))


def unordered(value: Any) -> Any:
    """Return a value whose lists say nothing of their order."""
    if isinstance(value, dict):
        return {name: unordered(each) for name, each in value.items()}
    if isinstance(value, list):
        return sorted((unordered(each) for each in value), key=canonical)
    return value


# --- laws of all strategies ---------------------------------------------------------------------


@given(name=names, sides=edits(), known=st.booleans(), later=st.booleans())
def test_the_same_sides_are_always_resolved_alike(
    name: str, sides: tuple[Any, Any, Any], *, known: bool, later: bool
) -> None:
    shuffled = [dict(reversed(each.items())) for each in sides]
    one = resolve(name, *sides, known=known, later=later)
    other = resolve(name, *shuffled, known=known, later=later)
    assert one == other
    assert canonical(one.value) == canonical(other.value)


@given(name=names, base=anything, side=anything, known=st.booleans())
def test_merging_with_itself_changes_nothing(
    name: str, base: Any, side: Any, *, known: bool
) -> None:
    resolution = resolve(name, base, side, side, known=known)
    assert resolution == Resolution(value=side)


@given(name=names, sides=edits(), later=st.booleans())
def test_what_was_resolved_once_stays_as_it_is(
    name: str, sides: tuple[Any, Any, Any], *, later: bool
) -> None:
    base, client, server = sides
    once = resolve(name, base, client, server, later=later).value
    again = resolve(name, base, client, once, later=later).value
    assert canonical(again) == canonical(once)


@given(name=names, sides=edits(), later=st.booleans())
def test_a_field_that_only_one_side_touched_is_always_kept(
    name: str, sides: tuple[Any, Any, Any], *, later: bool
) -> None:
    base, client, server = sides
    resolution = resolve(name, base, client, server, later=later)
    assume(not resolution.conflicting_fields)
    for field in {*base, *client, *server}:
        if name == "stock_data" and field in ("price", "timestamp"):
            # The two are one.
            continue
        if not touched(base, server, field):
            assert same(resolution.value.get(field, ABSENT), client.get(field, ABSENT))
        elif not touched(base, client, field):
            assert same(resolution.value.get(field, ABSENT), server.get(field, ABSENT))


@given(name=names, sides=edits(what=flat_documents), later=st.booleans())
def test_what_a_client_changed_and_did_not_get_is_told(
    name: str, sides: tuple[Any, Any, Any], *, later: bool
) -> None:
    base, client, server = sides
    resolution = resolve(name, base, client, server, later=later)
    told = {each.path for each in resolution.unmerged}
    told |= {f"/{field}" for field in resolution.conflicting_fields}
    for field in {*base, *client, *server}:
        lost = not same(resolution.value.get(field, ABSENT), client.get(field, ABSENT))
        assert not (lost and touched(base, client, field)) or f"/{field}" in told


@given(names, anything, anything)
def test_where_the_base_is_not_known_both_sides_are_there_or_it_is_told(
    name: str, client: Any, server: Any
) -> None:
    resolution = resolve(name, {}, client, server, known=False)
    if name in ("client_wins", "last_write_wins"):
        assert same(resolution.value, client)
    elif not resolution.conflicting_fields and not resolution.unmerged and name == "merge":
        assert client.keys() | server.keys() == resolution.value.keys()


# --- what is independent of the order of arrival ------------------------------------------------


@given(edits())
def test_merge_gives_the_same_whichever_side_came_first_unless_it_tells_otherwise(
    sides: tuple[Any, Any, Any],
) -> None:
    base, one, other = sides
    first, second = resolve("merge", base, other, one), resolve("merge", base, one, other)
    told = [*first.unmerged, *second.unmerged]
    assume(all(each.client is None or each.server is None for each in told))
    assert unordered(first.value) == unordered(second.value)


@given(edits())
def test_last_write_wins_gives_the_same_whichever_was_stored_first(
    sides: tuple[Any, Any, Any],
) -> None:
    base, earlier, later = sides
    in_order = resolve("last_write_wins", base, later, earlier, later=True).value
    overtaken = resolve("last_write_wins", base, earlier, later, later=False).value
    # Where a list has no one order the later side's own is taken.
    assert unordered(in_order) == unordered(overtaken)


@given(st.lists(values, min_size=4, max_size=4), st.sampled_from(NAMES))
def test_changes_of_different_fields_give_the_same_in_any_order(new: list[Any], name: str) -> None:
    base: dict[str, Any] = {"a": 0, "b": "b", "c": [1, 2], "d": {"x": 1}}
    sides = [{**base, field: value} for field, value in zip(base, new, strict=True)]
    expected = dict(zip(base, new, strict=True))
    for order in permutations(sides):
        server: Any = base
        for client in order:
            resolution = resolve(name, base, client, server)
            assert not resolution.conflicting_fields
            assert not resolution.unmerged
            server = resolution.value
        assert same(server, expected)


# --- strategies, one by one ---------------------------------------------------------------------

BASE = {"name": "Main", "symbols": ["AAPL", "MSFT"], "color": "red"}
CLIENT = {"name": "Mine", "symbols": ["AAPL", "MSFT", "TSLA"], "color": "red"}
SERVER = {"name": "Tech", "symbols": ["AAPL"], "color": "blue"}


def test_a_watchlist_is_merged_by_element_and_what_both_renamed_is_told() -> None:
    resolution = resolve("merge", BASE, CLIENT, SERVER)
    assert resolution.value == {"name": "Tech", "symbols": ["AAPL", "TSLA"], "color": "blue"}
    assert resolution.unmerged == (Unmerged(path="/name", client='"Mine"', server='"Tech"'),)


@pytest.mark.parametrize(
    ("name", "later", "expected", "told"),
    [
        ("client_wins", True, "Mine", 0),
        ("server_wins", True, "Tech", 1),
        ("last_write_wins", True, "Mine", 0),
        ("last_write_wins", False, "Tech", 1),
    ],
)
def test_one_side_wins_what_both_changed_and_nothing_else(
    *, name: str, later: bool, expected: str, told: int
) -> None:
    resolution = resolve(name, BASE, CLIENT, SERVER, later=later)
    merged = {"name": expected, "symbols": ["AAPL", "TSLA"], "color": "blue"}
    assert resolution.value == merged
    assert len(resolution.unmerged) == told


def test_manual_names_the_fields_that_both_changed() -> None:
    assert resolve("manual", BASE, CLIENT, SERVER).conflicting_fields == ("name",)
    apart = {**BASE, "symbols": []}
    assert resolve("manual", BASE, apart, {**BASE, "color": "blue"}) == Resolution(
        value={"name": "Main", "symbols": [], "color": "blue"}
    )


@pytest.mark.parametrize("name", ["merge", "stock_data"])
def test_an_edit_outlives_a_deletion(name: str) -> None:
    edited = {**BASE, "color": "blue"}
    assert resolve(name, BASE, ABSENT, edited).value == edited
    assert resolve(name, BASE, edited, ABSENT).value == edited
    assert resolve(name, BASE, ABSENT, BASE).value is ABSENT
    # Who deletes without saying what deletes what there is.
    assert resolve(name, BASE, ABSENT, edited, known=False).value is ABSENT


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        (["A", "B", "X"], ["A", "B", "Y"], ["A", "B", "Y", "X"]),
        (["A", "X", "B"], ["Y", "A", "B"], ["Y", "A", "X", "B"]),
        (["B", "A"], ["A", "B", "Y"], ["B", "Y", "A"]),
        ([], ["A", "B", "Y"], ["Y"]),
        (["A"], ["B"], []),
    ],
)
def test_elements_of_a_list_keep_their_places(
    client: list[str], server: list[str], expected: list[str]
) -> None:
    base = {"l": ["A", "B"]}
    assert resolve("merge", base, {"l": client}, {"l": server}).value == {"l": expected}


def test_elements_with_an_id_are_merged_field_by_field() -> None:
    base = {"alerts": [{"id": 1, "above": 10, "on": True}, {"id": 2, "above": 20}]}
    client = {"alerts": [{"id": 1, "above": 11, "on": True}, {"id": 2, "above": 20}]}
    server = {"alerts": [{"id": 1, "above": 10, "on": False}, {"id": 3, "above": 30}]}
    merged = [{"id": 1, "above": 11, "on": False}, {"id": 3, "above": 30}]
    assert resolve("merge", base, client, server).value == {"alerts": merged}


def test_paths_of_what_was_not_merged_are_json_pointers() -> None:
    base = {"a/b": {"~": 1}, "l": [{"id": "x", "n": 1}]}
    client = {"a/b": {"~": 2}, "l": [{"id": "x", "n": 2}]}
    server = {"a/b": {"~": 3}, "l": [{"id": "x", "n": 3}]}
    told = [each.path for each in resolve("merge", base, client, server).unmerged]
    assert told == ["/a~1b/~0", "/l/x/n"]


def test_market_data_has_the_newest_price_the_higher_volume_and_the_joined_series() -> None:
    def day(timestamp: int, close: int) -> dict[str, int]:
        return {"timestamp": timestamp, "close": close}

    client = {
        "price": 11,
        "timestamp": 200,
        "volume": 5,
        "historicalData": [day(3, 30), day(2, 21)],
    }
    server = {
        "price": 10,
        "timestamp": 100,
        "volume": 7,
        "historicalData": [day(1, 10), day(2, 20)],
        "name": "Apple",
    }
    expected = {
        "price": 11,
        "timestamp": 200,
        "volume": 7,
        "historicalData": [day(1, 10), day(2, 21), day(3, 30)],
        "name": "Apple",
    }
    for known in (True, False):
        resolution = resolve("stock_data", {}, client, server, known=known)
        assert resolution == Resolution(value=expected)
    other_way = resolve("stock_data", {}, server, client)
    assert (other_way.value["price"], other_way.value["volume"]) == (11, 7)
    tie = resolve("stock_data", {}, {**client, "timestamp": 100}, server)
    assert (tie.value["price"], tie.value["timestamp"]) == (10, 100)


def test_a_strategy_of_ones_own_is_called_by_its_name() -> None:
    engine = ConflictResolutionEngine()
    sides = Sides(client={"t": "long"}, server={"t": "x"})
    with pytest.raises(UnknownStrategyError, match="longest"):
        engine.resolve_conflict(sides, "longest")
    longest = ConflictResolutionStrategy(
        name="longest",
        description="The longer text.",
        resolve=lambda each: Resolution(value=max(each.client, each.server, key=canonical)),
    )
    engine.add_strategy(longest)
    assert engine.get_strategy("longest") is longest
    assert longest in engine.get_all_strategies()
    assert engine.resolve_conflict(sides, "longest").value == {"t": "x"}
