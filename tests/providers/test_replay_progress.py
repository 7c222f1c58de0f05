"""How far a replay is, on a terminal and in the log."""

import io

import pytest
from rich.console import Console
from structlog.testing import capture_logs

from stockstream.providers.replay_progress import ReplayProgress
from tests.support.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_progress_is_logged_now_and_then_where_there_is_no_terminal(
    clock: ManualClock,
) -> None:
    progress = ReplayProgress(clock, "ticks.csv", Console(file=io.StringIO()))
    with capture_logs() as logs:
        for second in range(100):
            progress.show(progress=second / 100, ticks=second, time_ms=second * 1000, rounds=0)
            await clock.advance(1)
        progress.stop()
    assert [log["percent"] for log in logs] == [0, 30, 60, 90]
    assert logs[1]["time"] == "1970-01-01 00:00:30"


async def test_progress_is_one_line_on_a_terminal_and_leaves_it_clean(clock: ManualClock) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, legacy_windows=False)
    progress = ReplayProgress(clock, "ticks.csv", console)
    progress.show(progress=0.25, ticks=1234, time_ms=0, rounds=2)
    assert "25%" in screen.getvalue()
    assert "1,234 ticks · round 3" in screen.getvalue()
    progress.stop()
    # The cursor is shown again and the line is erased.
    assert screen.getvalue().rindex("\x1b[?25h") > screen.getvalue().rindex("\x1b[?25l")
    assert screen.getvalue().endswith("\x1b[2K")
