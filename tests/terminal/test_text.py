from datetime import UTC, datetime, timedelta, timezone

import pytest

from stockstream.terminal import text

# 2024-03-05 14:30:00 UTC.
MOMENT = 1_709_649_000_000


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [(187.2, 2, "187.20"), (1234567.891, 2, "1,234,567.89"), (0.00001234, 8, "0.00001234")],
)
def test_prices_keep_their_decimals(value: float, digits: int, shown: str) -> None:
    assert text.price(value, digits) == shown


def test_an_unknown_price_is_a_dash() -> None:
    assert text.price(None, 2) == "–"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, "+0.50"), (-0.5, "-0.50"), (0.0, "0.00"), (-0.001, "0.00"), (1234.0, "+1,234.00")],
)
def test_differences_have_a_sign_but_nothing_has_none(value: float, shown: str) -> None:
    assert text.signed(value, 2) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (1234567.0, "1,234,567"), (0.0312, "0.0312"), (12345.6, "12,346")],
)
def test_volumes_are_read_at_a_glance(value: float, shown: str) -> None:
    assert text.volume(value) == shown


def test_times_are_local_and_dated_when_they_are_not_of_today() -> None:
    now = datetime(2024, 3, 5, 20, 0, tzinfo=UTC)
    assert text.clock_time(MOMENT, now) == "14:30:00"
    seoul = now.astimezone(timezone(timedelta(hours=9)))
    assert text.clock_time(MOMENT, seoul) == "2024-03-05 23:30:00"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1.0, "0s"), (0.9, "0s"), (59.9, "59s"), (60, "1m"), (7_200, "2h"), (200_000, "2d")],
)
def test_ages_have_one_unit(seconds: float, shown: str) -> None:
    assert text.age(seconds) == shown


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("two\nlines\r", "two lines"),
        ("\u202egnp", "gnp"),
        ("[bold]한국어[/bold]", "[bold]한국어[/bold]"),
    ],
)
def test_nothing_that_a_terminal_would_obey_is_left(message: str, shown: str) -> None:
    assert text.plain(message) == shown
