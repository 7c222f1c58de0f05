"""What Prometheus is told of bars and of the history that they are kept in."""

from stockstream.gateway.exposition import Exposition
from stockstream.services.bars import BarService
from stockstream.services.keeping import History


def describe_bars(page: Exposition, bars: BarService) -> None:
    """Show the requests for the provider's history."""
    history = bars.history
    page.counter(
        "bar_requests",
        "Requests for history: sent to the provider, failed, and not sent because too many wait.",
        lambda: {"sent": history.asked, "failed": history.failed, "shed": history.shed},
        label="outcome",
    )
    if bars.backfill is not None:
        requests = bars.backfill.requests
        page.counter(
            "backfill_requests",
            "The same, of bars older than the newest thousand.",
            lambda: requests,
            label="outcome",
        )


def describe_history(page: Exposition, history: History) -> None:
    """Show the way into the history."""
    writer = history.writer
    page.gauge(
        "history_pending",
        "Ticks that wait to be stored, and symbols whose minutes do.",
        lambda: {"ticks": writer.state.pending_ticks, "symbols": writer.state.pending_symbols},
        label="what",
    )
    page.gauge(
        "history_healthy", "1 while the history takes them.", lambda: float(not writer.state.error)
    )
    page.counter("history_written", "What was stored.", lambda: writer.state.written, label="kind")
    page.counter(
        "history_shed", "What was given up, never stored.", lambda: writer.state.shed, label="kind"
    )
    page.counter(
        "history_failures",
        "Attempts that found the history unavailable.",
        lambda: writer.state.failures,
    )
    page.counter("history_days_sealed", "Days that were rolled up.", lambda: history.upkeep.sealed)
