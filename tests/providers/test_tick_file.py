"""Reading recorded ticks."""

import gzip
import math
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stockstream.errors import ConfigError, PermanentProviderError
from stockstream.model import Quote, Symbol
from stockstream.providers.tick_file import HEADER, Block, TickFile, parse_tick

GOOD = "1399334400158,EURUSD,,,1.38742,1.38755"


def write(path: Path, *lines: str | bytes) -> Path:
    rows = [line if isinstance(line, bytes) else line.encode() for line in (HEADER, *lines)]
    path.write_bytes(b"\n".join(rows) + b"\n")
    return path


def read(path: Path, lines: int = 10_000) -> Block:
    with closing(TickFile(path)) as file:
        return file.read(lines)


def test_tick_has_every_field_of_its_line() -> None:
    assert parse_tick("1464183000023,msft,51.95,75,51.9,52") == Quote(
        symbol=Symbol("MSFT"),
        price=51.95,
        timestamp=1464183000023,
        size=75.0,
        bid=51.9,
        ask=52.0,
    )


def test_blank_price_is_the_middle_of_bid_and_ask() -> None:
    tick = parse_tick(GOOD)
    assert (tick.price, tick.bid, tick.ask, tick.size) == (1.387485, 1.38742, 1.38755, None)


def test_middle_of_small_prices_is_not_rounded_away() -> None:
    assert parse_tick("1,SHIB-USD,,,0.0000123401,0.0000123402").price == 0.00001234015


def test_windows_line_ends_are_read() -> None:
    assert parse_tick(GOOD + "\r\n") == parse_tick(GOOD)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,AAPL,1,,", "5 fields"),
        ("1,AAPL,1,,,,", "7 fields"),
        (",AAPL,1,,,", "timestamp_ms is ''"),
        ("-1,AAPL,1,,,", "timestamp_ms is '-1'"),
        ("1.5,AAPL,1,,,", "timestamp_ms"),
        ("1_000,AAPL,1,,,", "timestamp_ms"),
        ("²,AAPL,1,,,", "timestamp_ms"),
        ("999999999999999,AAPL,1,,,", "timestamp_ms"),
        ("9" * 5000 + ",AAPL,1,,,", "timestamp_ms"),
        ("1,,1,,,", "'' is not a symbol"),
        ("1,A B,1,,,", "'A B' is not a symbol"),
        ("1,AAPL,,,,", "neither a price nor both of bid and ask"),
        ("1,AAPL,,,1,", "neither a price nor both of bid and ask"),
        ("1,AAPL,0,,,", "the price is not above zero, or"),
        ("1,AAPL,,,0,0", "the price is not above zero, or"),
        ("1,AAPL,-1,,,", "price is '-1'"),
        ("1,AAPL,nan,,,", "price is 'nan'"),
        ("1,AAPL,1,,inf,", "bid is 'inf'"),
        ("1,AAPL,1,,,1_0", "ask is '1_0'"),
        ("1,AAPL,1,x,,", "size is 'x'"),
    ],
)
def test_bad_line_is_refused_with_its_reason(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason.replace('.', '[.]')}"):
        parse_tick(line)


fields = st.one_of(
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["", "AAPL", "EURUSD=X", "1399334400158", "1e308", "0", "1_0"]),
)


@given(line=st.one_of(st.text(), st.lists(fields, min_size=6, max_size=6).map(",".join)))
@example(line="1,AAPL,,,1.7e308,1.7e308")
def test_any_line_is_a_tick_or_refused(line: str) -> None:
    try:
        tick = parse_tick(line)
    except ValueError:
        return
    assert 0 < tick.price < math.inf
    assert tick.timestamp is not None


@given(content=st.binary(max_size=3000))
@example(content=b"\xff" * 2000 + b"\n" + GOOD.encode())
def test_every_line_of_any_file_is_a_tick_or_reported(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "ticks.csv"
    # A first tick, so that the file is not refused for having nothing in it.
    path.write_bytes(f"{HEADER}\n{GOOD}\n".encode() + content)
    block = read(path)
    assert block.last
    lines = [line for line in content.split(b"\n") if line.strip()]
    assert len(block.ticks) + len(block.bad) == 1 + len(lines)


def test_bad_lines_are_reported_with_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "ticks.csv", GOOD, "", "nonsense", GOOD, b"\xff\xfe", "x" * 5000, GOOD)
    block = read(path)
    assert len(block.ticks) == 3
    assert [bad.number for bad in block.bad] == [4, 6, 7]
    assert block.bad[2].reason == "longer than 1024 bytes"


def test_gzip_is_recognized_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "ticks.csv"
    path.write_bytes(gzip.compress(f"{HEADER}\r\n{GOOD}".encode()))
    assert read(path).ticks == [parse_tick(GOOD)]


def test_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "ticks.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\n{GOOD}\n".encode())
    assert read(path).ticks == [parse_tick(GOOD)]


def test_progress_goes_from_nothing_to_all(tmp_path: Path) -> None:
    path = write(tmp_path / "ticks.csv", *[GOOD] * 5000)
    with closing(TickFile(path)) as file:
        seen = [file.progress]
        while not file.read(500).last:
            seen.append(file.progress)
        assert seen == sorted(seen)
        assert seen[0] < 0.1
        assert file.progress == 1.0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"time,symbol\n", "first line must be"),
        (b"\xff\xff\xff", "first line must be"),
        (HEADER.encode() + b"\n", "a header and nothing else"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (gzip.compress(HEADER.encode() * 9, mtime=0)[:20], "can't be read"),
        (b"\x1f\x8b not gzip at all", "can't be read"),
    ],
)
def test_file_that_can_not_be_replayed_is_refused_by_name(
    tmp_path: Path, content: bytes, why: str
) -> None:
    path = tmp_path / "ticks.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=why) as refused:
        TickFile(path)
    assert refused.value.name == "REPLAY_FILE"
    assert str(path) in str(refused.value)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        TickFile(tmp_path / "missing.csv")
    with pytest.raises(ConfigError, match="directory"):
        TickFile(tmp_path)


def test_damaged_file_gives_what_stands_before_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "ticks.csv.gz"
    lines = "\n".join(f"{time},EURUSD,1.{time},,," for time in range(1, 50_000))
    whole = gzip.compress(f"{HEADER}\n{lines}\n".encode())
    path.write_bytes(whole[: len(whole) // 2])
    with closing(TickFile(path)) as file:
        block = file.read(1_000_000)
        assert not block.last
        assert [tick.timestamp for tick in block.ticks] == list(range(1, len(block.ticks) + 1))
        assert len(block.ticks) > 10_000
        with pytest.raises(PermanentProviderError, match="damaged after line"):
            file.read(10)
