"""Choosing a provider by name."""

from pathlib import Path

import pytest

from stockstream.errors import ConfigError
from stockstream.model import Symbol
from stockstream.providers import ProviderSettings, open_provider
from tests.support.clock import ManualClock
from tests.support.processes import ROOT

SLICE = ROOT / "tests" / "data" / "ticks_fx_20140506_1224.csv.gz"


async def test_settings_choose_the_simulated_market() -> None:
    clock = ManualClock()
    settings = [ProviderSettings(simulated_seed=seed) for seed in (1, 1, 2)]
    providers = [open_provider(each, clock) for each in settings]
    prices = []
    for provider in providers:
        assert provider.name == "simulated"
        assert provider.poller is not None
        batch = await provider.poller.fetch_quotes([Symbol("AAPL")])
        prices.append(batch.quotes[0].price)
    assert prices[0] == prices[1] != prices[2]


async def test_settings_choose_a_recording() -> None:
    provider = open_provider(ProviderSettings(name="replay", replay_file=SLICE), ManualClock())
    assert provider.name == "replay"
    assert provider.feed is not None
    await provider.aclose()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ProviderSettings(name="yahoo"),
            "setting PROVIDER has the value 'yahoo': one of replay, s",
        ),
        (ProviderSettings(name="replay"), "setting REPLAY_FILE is not set"),
        (
            ProviderSettings(name="replay", replay_file=Path("/missing.csv")),
            "setting REPLAY_FILE has the value '/missing.csv': can't be read: No such file",
        ),
        (ProviderSettings(update_interval=0), "setting UPDATE_INTERVAL has the value 0"),
    ],
)
def test_wrong_settings_are_refused_in_one_clear_line(
    settings: ProviderSettings, message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        open_provider(settings, ManualClock())
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
