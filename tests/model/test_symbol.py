import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockstream.errors import InvalidSymbolError
from stockstream.model import parse_symbol


@pytest.mark.parametrize(
    "symbol",
    ["AAPL", "BRK.B", "005930.KS", "BTC-USD", "^GSPC", "EURUSD=X", "600519.SS", "M&M.NS", "ES=F"],
)
def test_symbols_of_real_venues_pass(symbol: str) -> None:
    assert parse_symbol(symbol) == symbol
    assert parse_symbol(symbol.lower()) == symbol


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "A B",
        "A:B",
        "A*",
        "A?",
        "A[B]",
        "A/B",
        "A\n",
        "-A",
        "삼성",
        "ß",
        "ı",
        "A" * 33,
        "A\0",
    ],
)
def test_what_could_harm_a_key_or_an_url_is_refused(text: str) -> None:
    with pytest.raises(InvalidSymbolError) as refused:
        parse_symbol(text)
    assert refused.value.code == "invalid_symbol"


def test_a_huge_text_is_not_repeated_in_the_error() -> None:
    with pytest.raises(InvalidSymbolError) as refused:
        parse_symbol("X" * 1_000_000)
    assert len(str(refused.value)) < 200


@given(st.text())
def test_any_text_is_a_canonical_symbol_or_refused(text: str) -> None:
    try:
        symbol = parse_symbol(text)
    except InvalidSymbolError:
        return
    assert symbol.isascii()
    assert symbol == text.upper()
    assert parse_symbol(symbol) == symbol
