"""A circuit breaker: stops asking who keeps failing, and tries again with care.

After M. Nygard, "Release It!", chapter "Stability Patterns".
"""

from enum import StrEnum
from random import Random

from stockstream.core.backoff import Backoff


class CircuitState(StrEnum):
    """Whether requests may go out."""

    #: They may.
    CLOSED = "closed"
    #: They may not, until the pause is over.
    OPEN = "open"
    #: One may, to see whether things are better.
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Opens after ``threshold`` failures in a row, for pauses that grow while nothing gets better.

    Times are seconds on any clock that does not go back.
    """

    def __init__(self, backoff: Backoff, random: Random, *, threshold: int = 5) -> None:
        self._backoff = backoff
        self._random = random
        self._threshold = threshold
        #: Failures in a row, and how many pauses in a row they led to.
        self._failures = 0
        self._pauses = 0
        self._open_until: float | None = None
        self._trial = False

    @property
    def state(self) -> CircuitState:
        """What it does now."""
        if self._open_until is None:
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if self._trial else CircuitState.OPEN

    def retry_at(self) -> float | None:
        """Return when a request may go out again; None where one may now, or a trial is on."""
        return None if self._trial else self._open_until

    def allow(self, now: float) -> bool:
        """Return whether a request may go out; a True in the open state is the one trial."""
        if self._open_until is None:
            return True
        if self._trial or now < self._open_until:
            return False
        self._trial = True
        return True

    def succeeded(self) -> None:
        """A request was answered: everything is well again."""
        self._failures = 0
        self._pauses = 0
        self._open_until = None
        self._trial = False

    def failed(self, now: float, *, retry_after: float | None = None) -> None:
        """A request failed; where the other side said when to come back, that is obeyed."""
        self._failures += 1
        if self._open_until is not None and not self._trial:
            # It was under way when the breaker opened, and says nothing about the time since.
            self._open_until = max(self._open_until, now + (retry_after or 0.0))
            return
        if self._failures < self._threshold and retry_after is None and not self._trial:
            return
        self._trial = False
        self._pauses += 1
        pause = self._backoff.delay(self._pauses, self._random)
        self._open_until = now + max(pause, retry_after or 0.0)

    def abandoned(self) -> None:
        """The request was given up by the caller: it says nothing about the other side."""
        self._trial = False
