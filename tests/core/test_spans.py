import asyncio
from datetime import UTC, datetime
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.core.spans import SessionDays, SessionWeeks
from stockstream.model import Timeframe
from stockstream.storage.sessions import load_sessions

DAY = 86_400_000
MINUTE = 60_000
NAMES = ("XNYS", "XKRX", "XTKS", "XASX", "XNZE", "CMES", "24/5", "24/7")


async def _load() -> dict[str, SessionDays]:
    days = await asyncio.gather(*map(load_sessions, NAMES))
    return dict(zip(NAMES, days, strict=True))


@cache
def calendars() -> dict[str, SessionDays]:
    return asyncio.run(_load())


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def date(label: int) -> str:
    return f"{datetime.fromtimestamp(label / 1000, UTC):%Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("name", "moment", "day"),
    [
        # New York closes at 21:00 UTC in winter and at 20:00 in summer.
        ("XNYS", "2024-01-16 20:59:59", "2024-01-16"),
        # The closing auction is printed within the minute after the bell.
        ("XNYS", "2024-01-16 21:00:59", "2024-01-16"),
        ("XNYS", "2024-01-16 21:01:00", "2024-01-17"),
        ("XNYS", "2024-07-16 20:01:00", "2024-07-17"),
        # A half day before the holiday; then a weekend.
        ("XNYS", "2023-11-24 18:00:59", "2023-11-24"),
        ("XNYS", "2023-11-24 18:01:00", "2023-11-27"),
        # The weekend before Martin Luther King's day.
        ("XNYS", "2024-01-13 12:00:00", "2024-01-16"),
        # Seoul closes at 15:30, 06:30 UTC.
        ("XKRX", "2024-03-05 06:30:59", "2024-03-05"),
        ("XKRX", "2024-03-05 06:31:00", "2024-03-06"),
        ("24/7", "2024-03-05 23:59:59", "2024-03-05"),
        ("24/7", "2024-03-06 00:00:00", "2024-03-06"),
        # Before and after the sessions that are known, days are those of UTC.
        ("XNYS", "1987-12-31 22:00:00", "1987-12-31"),
        ("XNYS", "2051-01-01 22:00:00", "2051-01-01"),
    ],
)
def test_a_day_ends_with_the_minute_in_which_its_session_closes(
    name: str, moment: str, day: str
) -> None:
    assert date(calendars()[name].floor(ms(moment))) == f"{day} 00:00"


@pytest.mark.parametrize(
    ("moment", "monday"),
    [
        ("2024-01-12 21:00:59", "2024-01-08"),
        # From the close of Friday on, it is the next week, though its Monday is a holiday.
        ("2024-01-12 21:01:00", "2024-01-15"),
        ("2024-01-16 15:00:00", "2024-01-15"),
    ],
)
def test_a_week_ends_where_its_last_session_does(moment: str, monday: str) -> None:
    assert date(SessionWeeks(calendars()["XNYS"]).floor(ms(moment))) == f"{monday} 00:00"


moments = st.integers(ms("1989-11-01 00:00"), ms("2029-02-28 00:00"))


@given(name=st.sampled_from(NAMES), moment=moments, weekly=st.booleans())
def test_stretches_have_neither_holes_nor_overlaps(name: str, moment: int, *, weekly: bool) -> None:
    days = calendars()[name]
    spans = SessionWeeks(days) if weekly else days
    label = spans.floor(moment)
    start, end = spans.bounds(label)

    assert start <= moment < end
    assert spans.floor(label) == label
    assert spans.floor(start) == label
    assert spans.floor(end - 1) == label
    assert spans.floor(end) > label
    assert spans.floor(start - 1) < label
    assert spans.bounds(spans.floor(end))[0] == end


@given(moment=st.integers(ms("2023-06-02 00:00"), ms("2024-12-30 00:00")))
def test_around_the_clock_it_is_the_calendar_of_utc(moment: int) -> None:
    days = calendars()["24/7"]
    assert days.floor(moment) == Timeframe.D1.floor(moment)
    assert SessionWeeks(days).floor(moment) == Timeframe.W1.floor(moment)


@given(moment=moments)
def test_without_sessions_it_is_the_calendar_of_utc(moment: int) -> None:
    assert SessionDays((), ()).floor(moment) == Timeframe.D1.floor(moment)
    assert SessionDays((), ()).bounds(0) == (0, DAY)
