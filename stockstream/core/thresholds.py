"""When a measurement becomes an alert, and when that is over (documented, section 7.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stockstream.model.alert import Alert, AlertState, AlertType
from stockstream.model.metrics import PerformanceMetrics

# An alert is over once the value is this far below its threshold. Were it the threshold itself, a
# value that wavers around it would fire and resolve at every measurement.
_RESOLVE_AT: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The bounds; a value above its bound is out of bounds. None turns one off."""

    #: Mean delivery latency of an interval, in ms.
    max_latency_ms: float | None = 1000.0
    #: Errors for each message handled, 0 to 1.
    max_error_rate: float | None = 0.05
    #: Resident memory, in MB (1,000,000 bytes).
    max_memory_mb: float | None = 512.0
    #: Messages a second, in and out.
    max_message_rate: float | None = None
    #: Seconds for which Redis may be out of reach.
    max_redis_gap: float | None = None


class AlertRules:
    """Holds each measurement against the thresholds, and remembers which alerts are firing.

    Each alert fires once when its value passes the threshold, and resolves once when the value is
    5 % below it (at 0 for a threshold of 0).
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._firing: dict[AlertType, Alert] = {}

    @property
    def firing(self) -> Sequence[Alert]:
        """The alerts that are firing, as they began."""
        return tuple(self._firing.values())

    def check(
        self, metrics: PerformanceMetrics, redis_gap: float = 0.0, history_shed: float = 0.0
    ) -> Sequence[Alert]:
        """Return the alerts that begin to fire, or resolve, with this measurement.

        Args:
            metrics: what was measured.
            redis_gap: seconds for which Redis has been out of reach.
            history_shed: how much of the history was given up in the interval.
        """
        limits = self._thresholds
        checked = (
            self._check(AlertType.HIGH_LATENCY, metrics.latency, limits.max_latency_ms, metrics),
            self._check(
                AlertType.HIGH_ERROR_RATE, metrics.error_rate, limits.max_error_rate, metrics
            ),
            self._check(
                AlertType.HIGH_MEMORY_USAGE, metrics.memory_usage, limits.max_memory_mb, metrics
            ),
            self._check(
                AlertType.HIGH_MESSAGE_RATE, metrics.message_rate, limits.max_message_rate, metrics
            ),
            self._check(AlertType.REDIS_UNAVAILABLE, redis_gap, limits.max_redis_gap, metrics),
            self._check(AlertType.HISTORY_SHED, history_shed, 0.0, metrics),
        )
        return tuple(alert for alert in checked if alert is not None)

    def _check(
        self,
        alert_type: AlertType,
        value: float,
        threshold: float | None,
        metrics: PerformanceMetrics,
    ) -> Alert | None:
        if threshold is None:
            return None
        begun = self._firing.get(alert_type)
        changes = value > threshold if begun is None else value <= threshold * _RESOLVE_AT
        if not changes:
            return None
        alert = Alert(
            type=alert_type,
            state=AlertState.FIRING if begun is None else AlertState.RESOLVED,
            value=value,
            threshold=threshold,
            node=metrics.node,
            since=metrics.timestamp if begun is None else begun.since,
            timestamp=metrics.timestamp,
        )
        if begun is None:
            self._firing[alert_type] = alert
        else:
            del self._firing[alert_type]
        return alert
