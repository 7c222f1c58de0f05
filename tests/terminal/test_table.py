import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from stockstream.client import ConnectionState, StateChange
from stockstream.model import StockUpdate, Symbol
from stockstream.terminal.board import Board
from stockstream.terminal.table import render
from tests.terminal.refusals import refusal

SYMBOLS = [Symbol(f"S{number}") for number in range(40)]


def board(count: int = 2) -> Board:
    filled = Board(SYMBOLS[:count], lambda: 100.0)
    filled.apply(StateChange(state=ConnectionState.CONNECTED))
    for symbol in filled.rows:
        filled.apply(
            StockUpdate(
                symbol=symbol,
                price=1234.5,
                change=-1.5,
                change_percent=-0.12,
                volume=1_000_000.0,
                timestamp=1_709_649_000_000,
                seq=1,
                epoch="e1",
                bid=1234.4,
            )
        )
    return filled


def drawn(shown: Board, *, width: int = 100, height: int = 24, now: float = 100.0) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.begin_capture()
    console.print(
        render(
            shown,
            "http://127.0.0.1:8000",
            monotonic=now,
            wall=datetime(2024, 3, 5, 20, 0, tzinfo=UTC),
            width=width,
            height=height,
        )
    )
    return console.end_capture().splitlines()


def test_a_row_has_everything_that_is_known() -> None:
    row = next(line for line in drawn(board(), now=112.0) if line.startswith("S0"))

    assert row.split() == [
        *("S0", "1,234.50", "-1.50", "-0.12%", "1,234.40", "–", "1,000,000", "14:30:00", "12s")
    ]


@pytest.mark.parametrize("width", [20, 30, 45, 55, 65, 75, 100, 300])
@pytest.mark.parametrize("height", [4, 10, 24])
@pytest.mark.parametrize("count", [1, 40])
def test_it_never_outgrows_the_terminal(width: int, height: int, count: int) -> None:
    full = board(count)
    full.apply(StateChange(state=ConnectionState.RECONNECTING, reason="r" * 500, retry_in=3))

    lines = drawn(full, width=width, height=height)

    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_what_is_left_until_the_next_attempt_is_counted_down() -> None:
    waiting = board()
    waiting.apply(StateChange(state=ConnectionState.RECONNECTING, reason="it left", retry_in=8))

    assert drawn(waiting, now=103.0)[-1].endswith("it left · trying again in 5 s")
    assert drawn(waiting, now=203.0)[-1].endswith("trying again in 0 s")


def test_many_refusals_leave_room_for_the_rest() -> None:
    crowded = board(40)
    for symbol in SYMBOLS[:30]:
        crowded.apply(refusal(symbol, code="subscription_limit", message="enough"))

    lines = drawn(crowded, height=50)

    assert lines.count("S3: enough") == 1
    assert "… and 25 more are refused" in lines
    assert any(line.startswith("S39 ") and "1,234.50" in line for line in lines)
    assert len(lines) <= 50
