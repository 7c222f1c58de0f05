from pathlib import Path

import pytest

from tests.bench import history
from tests.bench.history_http import over_http


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> history.Tape:
    """Twelve minutes, whatever there is."""
    monkeypatch.setattr(history, "RECORDED_DAY", history.SLICE)
    return history.tape()


async def test_pandas_makes_the_same_minutes_of_a_recording(
    recorded: history.Tape, tmp_path: Path
) -> None:
    ours, _ = history.counted(recorded)
    theirs, _ = history.resampled(recorded)
    assert history.agrees(ours, theirs)
    assert await history.rolling_up_ms(f"sqlite:///{tmp_path / 'history.db'}", ours) > 0
    theirs["EURUSD"].pop()
    assert not history.agrees(ours, theirs)


async def test_a_year_over_http_is_measured(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'history.db'}"
    taken = await over_http(url, "/api/bars/YEAR?timeframe=1m&limit=2", rounds=2)
    assert taken.ms > 0
    assert taken.megabytes == len("[]") / 1_000_000


async def test_writing_and_delays_are_measured(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'history.db'}"
    assert await history.ticks_per_second(url, 1_000) > 0
    assert len(await history.delays(url, 0.1)) >= 40
