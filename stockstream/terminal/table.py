"""The board as a table that fits the terminal."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stockstream.client import ConnectionState
from stockstream.model import StockUpdate
from stockstream.terminal import text
from stockstream.terminal.board import Board, Row

# Lines that are not rows: the head of the table with its rule, and what the connection does.
_FRAME: Final = 3
# Most lines that tell why symbols are refused.
_MAX_REASONS: Final = 5
_UP, _DOWN, _STILL = "green", "red", "default"


@dataclass(frozen=True, slots=True)
class _Moment:
    monotonic: float
    wall: datetime


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    cell: Callable[[Row, StockUpdate, _Moment], Text]
    #: Narrower terminals go without it.
    min_width: int = 0


def _price(row: Row, update: StockUpdate, moment: _Moment) -> Text:
    arrow = {1: "▲", -1: "▼", 0: " "}[row.move]
    style = {1: _UP, -1: _DOWN, 0: _STILL}[row.move]
    flash = "bold reverse " if row.is_flashing(moment.monotonic) else ""
    return Text(f"{arrow} {text.price(update.price, row.digits)}", style=flash + style)


def _since_close(value: float, digits: int, unit: str = "") -> Text:
    style = _UP if value > 0 else _DOWN if value < 0 else _STILL
    return Text(text.signed(value, digits) + unit, style=style)


_COLUMNS: Final = (
    _Column("Price", _price),
    _Column("Change", lambda row, update, _: _since_close(update.change, row.digits), 40),
    _Column("%", lambda _row, update, _: _since_close(update.change_percent, 2, "%"), 30),
    _Column("Bid", lambda row, update, _: Text(text.price(update.bid, row.digits)), 80),
    _Column("Ask", lambda row, update, _: Text(text.price(update.ask, row.digits)), 80),
    _Column("Volume", lambda _row, update, _: Text(text.volume(update.volume)), 70),
    _Column(
        "Time",
        lambda _row, update, moment: Text(text.clock_time(update.timestamp, moment.wall)),
        60,
    ),
    _Column(
        "Age",
        lambda row, _update, moment: Text(
            text.age(moment.monotonic - row.received_at), style="dim"
        ),
        50,
    ),
)


def render(
    board: Board, url: str, *, monotonic: float, wall: datetime, width: int, height: int
) -> RenderableType:
    """Return the board as it looks at this moment, in no more than ``height`` lines.

    Args:
        board: what to show.
        url: of the server.
        monotonic: now, on the board's clock, in seconds.
        wall: now, in the time zone to show times in.
        width: columns of the terminal; on a narrow one some columns of the table are left out.
        height: its lines; rows that don't fit are counted in the last line.
    """
    moment = _Moment(monotonic, wall)
    below = _reasons(board)
    rows = list(board.rows.values())
    shown = rows[: max(height - _FRAME - len(below), 1)]
    columns = [column for column in _COLUMNS if width >= column.min_width]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("Symbol", no_wrap=True)
    for column in columns:
        table.add_column(column.title, justify="right", no_wrap=True)
    for row in shown:
        table.add_row(*_cells(row, columns, moment))
    link = _link(board, url, monotonic)
    if len(shown) < len(rows):
        link.append(f" · {len(rows) - len(shown)} more symbols don't fit", style="dim")
    return Group(table, *below, link)


def _cells(row: Row, columns: list[_Column], moment: _Moment) -> list[Text]:
    symbol = Text(row.symbol, style="bold")
    if row.refusal is not None:
        return [symbol, Text("refused", style="yellow")]
    if row.update is None:
        return [symbol, Text("no price yet", style="dim")]
    return [symbol, *(column.cell(row, row.update, moment) for column in columns)]


def _reasons(board: Board) -> list[Text]:
    refused = [row for row in board.rows.values() if row.refusal is not None]
    lines = [
        f"{row.symbol}: {text.plain(row.refusal.message)}"
        for row in refused[:_MAX_REASONS]
        if row.refusal is not None
    ]
    if len(refused) > len(lines):
        lines.append(f"… and {len(refused) - len(lines)} more are refused")
    if board.notice is not None:
        lines.append(text.plain(board.notice.message))
    return [_line(line, "yellow") for line in lines]


def _link(board: Board, url: str, monotonic: float) -> Text:
    link = board.link
    if link.state is ConnectionState.CONNECTED:
        return _line(f"● {url} · {board.updates:,} updates", "green")
    if link.retry_in is None:
        return _line(f"○ {url} · connecting", "yellow")
    left = max(board.link_since + link.retry_in - monotonic, 0.0)
    return _line(f"○ {url} · {text.plain(link.reason)} · trying again in {left:.0f} s", "red")


def _line(content: str, style: str) -> Text:
    return Text(content, style=style, no_wrap=True, overflow="ellipsis")
