import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.errors import (
    InvalidSymbolError,
    RefusedError,
    UnknownEventError,
    UnknownTimeframeError,
)
from stockstream.model import Timeframe
from stockstream.wire.names import parse_channel


def test_names_are_made_canonical() -> None:
    assert parse_channel("stock_update_aapl").name == "stock_update_AAPL"
    assert parse_channel("bar_update_brk.b_1m").name == "bar_update_BRK.B_1m"


def test_a_bars_symbol_may_hold_an_underscore() -> None:
    channel = parse_channel("bar_update_SPREAD_A_B_1d")
    assert (channel.symbol, channel.timeframe) == ("SPREAD_A_B", Timeframe.D1)
    # Also where the symbol itself ends like a timeframe.
    channel = parse_channel("bar_update_samsung_1m_1h")
    assert (channel.symbol, channel.timeframe) == ("SAMSUNG_1M", Timeframe.H1)


@pytest.mark.parametrize("name", ["performance_metrics", "performance_alert"])
def test_events_about_the_service_need_no_symbol(name: str) -> None:
    assert parse_channel(name).symbol is None


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("eqxQ_fkcMB7ooIhrSacE", UnknownEventError),
        ("connect", UnknownEventError),
        ("", UnknownEventError),
        ("STOCK_UPDATE_AAPL", UnknownEventError),
        ("stock_update_", InvalidSymbolError),
        ("stock_update_A B", InvalidSymbolError),
        ("bar_update_AAPL_2m", UnknownTimeframeError),
        ("bar_update_AAPL", InvalidSymbolError),
        ("bar_update_1m", InvalidSymbolError),
    ],
)
def test_what_is_no_event_is_refused(name: str, error: type[RefusedError]) -> None:
    with pytest.raises(error):
        parse_channel(name)


@given(st.text())
def test_any_text_is_an_event_or_refused(text: str) -> None:
    for name in (text, f"stock_update_{text}", f"bar_update_{text}"):
        try:
            channel = parse_channel(name)
        except RefusedError:
            continue
        assert parse_channel(channel.name) == channel
