"""Where quotes come from: each provider is one module or package, named like the setting."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stockstream.errors import ConfigError
from stockstream.ports import Clock
from stockstream.provider_ports import QuoteProvider
from stockstream.providers.replay import ReplayProvider
from stockstream.providers.simulated import SimulatedProvider


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """The settings of all providers (contract, section 4)."""

    #: Which provider: `simulated` or `replay`.
    name: str = "simulated"
    #: Seconds between two polls of a symbol, and between the simulated market's ticks.
    update_interval: float = 1.0
    #: Chooses one of many simulated markets.
    simulated_seed: int = 0
    #: The share of ticks, 0 to 1, that change a simulated price.
    simulated_change_probability: float = 0.5
    #: The recording to replay.
    replay_file: Path | None = None
    #: 1.0: the recorded pace; 0: as fast as the ticks are taken.
    replay_speed: float = 1.0
    #: Whether the recording begins again at its end.
    replay_loop: bool = False


def open_provider(settings: ProviderSettings, clock: Clock) -> QuoteProvider:
    """Return the provider that the settings name; the caller closes it.

    Raises:
        ConfigError: there is none of that name, or one of its settings is wrong.
    """
    opener = _OPENERS.get(settings.name)
    if opener is None:
        raise ConfigError("PROVIDER", settings.name, f"one of {', '.join(sorted(_OPENERS))}")
    return opener(settings, clock)


def _simulated(settings: ProviderSettings, clock: Clock) -> QuoteProvider:
    return SimulatedProvider(
        clock,
        seed=settings.simulated_seed,
        interval=settings.update_interval,
        change_probability=settings.simulated_change_probability,
    )


def _replay(settings: ProviderSettings, clock: Clock) -> QuoteProvider:
    if settings.replay_file is None:
        raise ConfigError("REPLAY_FILE", None, "the provider replay needs a file of ticks")
    return ReplayProvider(
        clock, settings.replay_file, speed=settings.replay_speed, loop=settings.replay_loop
    )


_OPENERS: Final[Mapping[str, Callable[[ProviderSettings, Clock], QuoteProvider]]] = {
    "replay": _replay,
    "simulated": _simulated,
}
