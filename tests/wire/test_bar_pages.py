import msgspec
import pytest

from stockstream.core.bar_columns import BarColumns
from stockstream.model import Bar
from stockstream.wire.bar_pages import json_pieces


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 25])
def test_the_pieces_are_the_json_of_all_bars(count: int) -> None:
    bars = [Bar(start, 1.5, 4.0, 0.25, 2.0, 1e9 + start) for start in range(count)]
    whole = msgspec.json.encode(bars)
    assert b"".join(json_pieces(bars, 10)) == whole
    assert b"".join(json_pieces(BarColumns.of(bars), 10)) == whole
    assert len(list(json_pieces(bars, 10))) == -(-count // 10) + 1
