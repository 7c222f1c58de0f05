from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.client.offline.rebase import Rebased, rebase
from stockstream.wire.canonical import canonical, parse
from tests.support.rebase_cases import REBASED_LISTS

OBJECTS = st.none() | st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3)).map(canonical)


def rebased(before: Any, after: Any, now: Any) -> tuple[Any, bool]:
    sides = (None if each is None else canonical(each) for each in (before, after, now))
    made = rebase(*sides)
    return None if made.ours is None else parse(made.ours), made.clashes


def test_both_sides_keep_the_fields_that_they_alone_touched() -> None:
    now = {"a": 1, "b": 2, "new": 3}

    assert rebased({"a": 1, "b": 1}, {"a": 2, "b": 1}, now) == ({"a": 2, "b": 2, "new": 3}, False)


def test_the_change_goes_on_top_where_both_touched_a_field() -> None:
    assert rebased({"a": 1}, {"a": 2}, {"a": 3}) == ({"a": 2}, True)


def test_a_deletion_meets_an_edit() -> None:
    assert rebased({"a": 1}, None, {"a": 3}) == (None, True)
    assert rebased({"a": 1}, None, {"a": 1}) == (None, False)
    assert rebased(None, {"a": 1}, None) == ({"a": 1}, False)


@pytest.mark.parametrize(
    ("before", "after", "now", "expected"), REBASED_LISTS.values(), ids=REBASED_LISTS
)
def test_lists_are_put_together_by_element_as_browsers_do_it(
    before: Any, after: Any, now: Any, expected: Any
) -> None:
    made = rebased({"list": before}, {"list": after}, {"list": now})

    assert made == ({"list": expected}, False)


@given(OBJECTS, OBJECTS, OBJECTS)
def test_what_it_was_made_on_changes_nothing_and_no_change_takes_what_is_there(
    before: str | None, after: str | None, now: str | None
) -> None:
    assert rebase(before, after, before) == Rebased(after, after)
    assert rebase(before, before, now) == Rebased(now, now)
    assert rebase(before, after, now) == rebase(before, after, now)


@given(OBJECTS, OBJECTS, OBJECTS)
def test_every_field_that_the_change_touched_is_as_it_has_it(
    before: str | None, after: str | None, now: str | None
) -> None:
    if after is None or now is None:
        return
    merged = parse(rebase(before, after, now).ours or "{}")
    old, new, there = (parse(each or "{}") for each in (before, after, now))
    for name in {*old, *new, *there}:
        touched = old.get(name) != new.get(name)
        assert merged.get(name) == (new if touched else there).get(name)
