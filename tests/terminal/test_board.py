from collections.abc import Callable

import pytest

from stockstream.client import ConnectionState, StateChange
from stockstream.model import StockUpdate, Symbol
from stockstream.terminal.board import FLASH, Board
from tests.terminal.refusals import refusal

AAPL, MSFT = Symbol("AAPL"), Symbol("MSFT")


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def board(time: Callable[[], float]) -> Board:
    return Board([MSFT, AAPL], time)


def update(price: float, symbol: Symbol = AAPL) -> StockUpdate:
    return StockUpdate(
        symbol=symbol,
        price=price,
        change=0.0,
        change_percent=0.0,
        volume=0.0,
        timestamp=0,
        seq=1,
        epoch="e1",
    )


def test_rows_stand_in_the_order_in_which_they_were_asked_for(board: Board) -> None:
    board.apply(update(1.0))

    assert list(board.rows) == [MSFT, AAPL]


def test_a_move_stands_out_for_a_moment(board: Board, time: Time) -> None:
    row = board.rows[AAPL]
    board.apply(update(10.0))
    assert not row.is_flashing(time.now)
    board.apply(update(11.0))
    assert (row.move, row.is_flashing(time.now)) == (1, True)
    time.now += FLASH
    assert not row.is_flashing(time.now)
    board.apply(update(10.5))

    assert (row.move, row.is_flashing(time.now)) == (-1, True)


def test_the_same_price_again_is_no_move_but_news(board: Board, time: Time) -> None:
    row = board.rows[AAPL]
    board.apply(update(10.0))
    board.apply(update(11.0))
    time.now += 5
    board.apply(update(11.0))

    assert (row.move, row.is_flashing(time.now)) == (1, False)
    assert row.received_at == time.now


def test_decimals_never_get_fewer(board: Board) -> None:
    seen = []
    for price in (10.0, 1.5, 1.38745, 1.3, 0.1 + 0.2):
        board.apply(update(price))
        seen.append(board.rows[AAPL].digits)

    assert seen == [2, 2, 5, 5, 5]


def test_an_update_takes_back_a_refusal(board: Board) -> None:
    board.apply(refusal(AAPL, code="unavailable", message="gone"))
    assert board.rows[AAPL].refusal is not None
    board.apply(update(10.0))

    assert board.rows[AAPL].refusal is None


def test_a_refusal_about_nothing_of_ours_is_a_notice_until_the_link_changes(board: Board) -> None:
    board.apply(refusal(None, code="rate_limited", message="slow down"))
    assert board.notice is not None
    board.apply(StateChange(state=ConnectionState.CONNECTING))

    assert board.notice is None


def test_updates_of_symbols_that_nobody_asked_for_are_passed_over(board: Board) -> None:
    board.apply(update(10.0, Symbol("IBM")))

    assert board.updates == 0
    assert Symbol("IBM") not in board.rows


def test_everything_that_happens_is_seen_in_the_revision(board: Board) -> None:
    revisions = [board.revision]
    for event in (update(1.0), StateChange(state=ConnectionState.CONNECTED), update(1.0)):
        board.apply(event)
        revisions.append(board.revision)

    assert len(set(revisions)) == 4
