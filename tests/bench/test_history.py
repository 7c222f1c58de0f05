from pathlib import Path

import pytest

from tests.bench import history


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


async def test_writing_and_delays_are_measured(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'history.db'}"
    assert await history.ticks_per_second(url, 1_000) > 0
    assert len(await history.delays(url, 0.1)) >= 40
