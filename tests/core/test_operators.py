from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.operators import Changed, Operator, enrich, keep, pipe

numbers = st.lists(st.integers(-3, 3))


def through(operator: Operator[int, int], items: list[int]) -> list[int]:
    return [out for item in items if (out := operator(item)) is not None]


def is_even(number: int) -> bool:
    return number % 2 == 0


def doubled(number: int) -> int:
    return number * 2


@given(numbers)
def test_what_is_kept_is_what_is_wanted_in_its_order(items: list[int]) -> None:
    assert through(keep(is_even), items) == [item for item in items if is_even(item)]


@given(numbers)
def test_of_equal_items_in_a_row_the_first_one_goes_on(items: list[int]) -> None:
    assert through(Changed[int](), items) == [item for item, _ in groupby(items)]


@given(numbers)
def test_what_was_let_on_before_is_not_let_on_again(items: list[int]) -> None:
    assert through(Changed(1), items) == [item for item, _ in groupby([1, *items])][1:]


@given(numbers)
def test_operators_in_a_pipe_follow_each_other(items: list[int]) -> None:
    both = pipe(keep(is_even), doubled)
    assert through(both, items) == [item * 2 for item in items if is_even(item)]


@given(numbers)
def test_it_does_not_matter_which_part_of_a_pipe_was_put_together_first(items: list[int]) -> None:
    left = pipe(pipe(keep(is_even), Changed[int]()), doubled)
    right = pipe(keep(is_even), pipe(Changed[int](), doubled))
    assert through(left, items) == through(right, items)


@given(numbers)
def test_items_of_which_the_table_knows_nothing_go_on_as_they_are(items: list[int]) -> None:
    table = {1: 100, -1: 200}
    operator = enrich(table, key=abs, merge=lambda item, row: item + row)
    assert through(operator, items) == [
        item + table[1] if abs(item) == 1 else item for item in items
    ]
