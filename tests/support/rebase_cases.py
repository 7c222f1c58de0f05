"""How a change of a list is carried over to a newer one, wherever that is done."""

from typing import Any, Final

#: By name: what the change was made on, the change, what holds now, and the two together.
REBASED_LISTS: Final[dict[str, tuple[list[Any], list[Any], list[Any], list[Any]]]] = {
    "both add": (["A"], ["A", "B"], ["A", "C"], ["A", "C", "B"]),
    "one removes, one adds": (["A", "B"], ["B"], ["A", "B", "C"], ["B", "C"]),
    "elements with ids": (
        [{"id": 1, "price": 5}],
        [{"id": 1, "price": 6}],
        [{"id": 1, "price": 5, "note": "x"}, {"id": 2}],
        [{"id": 1, "price": 6, "note": "x"}, {"id": 2}],
    ),
}
