from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.backoff import Backoff


def test_without_jitter_waits_grow_by_the_factor_up_to_the_maximum() -> None:
    backoff = Backoff(initial=0.5, maximum=3, factor=2, jitter=0)

    waits = [backoff.delay(failures, Random(0)) for failures in range(1, 6)]

    assert waits == [0.5, 1, 2, 3, 3]


@given(failures=st.integers(1, 10**9), jitter=st.floats(0, 1), seed=st.integers())
def test_no_wait_leaves_its_bounds(failures: int, jitter: float, seed: int) -> None:
    backoff = Backoff(initial=0.1, maximum=5, factor=1.5, jitter=jitter)
    longest = Backoff(initial=0.1, maximum=5, factor=1.5, jitter=0).delay(failures, Random(seed))

    assert longest * (1 - jitter) <= backoff.delay(failures, Random(seed)) <= longest <= 5


def test_a_factor_of_one_waits_the_same_after_any_number_of_failures() -> None:
    backoff = Backoff(initial=2, maximum=9, factor=1, jitter=0)

    assert backoff.delay(10**12, Random(0)) == 2


def test_those_who_failed_together_do_not_return_together() -> None:
    backoff = Backoff(initial=1, maximum=60)
    random = Random(7)

    assert len({round(backoff.delay(4, random), 3) for _ in range(100)}) > 80


@pytest.mark.parametrize(
    ("initial", "maximum", "factor", "jitter"),
    [(0, 1, 2, 0.5), (2, 1, 2, 0.5), (1, 2, 0.9, 0.5), (1, 2, 2, 1.1), (1, 2, 2, -0.1)],
)
def test_senseless_settings_are_refused(
    initial: float, maximum: float, factor: float, jitter: float
) -> None:
    with pytest.raises(ValueError, match=r"initial|factor"):
        Backoff(initial=initial, maximum=maximum, factor=factor, jitter=jitter)
