"""The metrics of this house, each with where it is read (documented in docs/operations.md)."""

from collections import Counter
from collections.abc import Sequence

from stockstream.core.circuit_breaker import CircuitState
from stockstream.engine import AsyncServer
from stockstream.gateway.authentication import Authenticator
from stockstream.gateway.document_news import DocumentNews
from stockstream.gateway.expiry import Expiry
from stockstream.gateway.exposition import Exposition
from stockstream.gateway.fanout import Fanout
from stockstream.gateway.keys import RemoteKeys
from stockstream.gateway.sockets import SocketGateway
from stockstream.gateway.web import WebDoor
from stockstream.ports import QuoteStore
from stockstream.services.contract import Streaming
from stockstream.services.deriving import Derivations
from stockstream.services.event_bus import EventBus
from stockstream.services.monitoring import PerformanceMonitor
from stockstream.services.sync import SyncService
from stockstream.storage.memory import MemoryQuoteStore
from stockstream.storage.redis import RedisQuoteStore
from stockstream.storage.writer import WriteBehind

#: Of the engine's counters, those that are sums of what each open connection counts as well.
_TRAFFIC = ("bytes_in", "bytes_out", "messages_in", "messages_out")


def describe_gateway(page: Exposition, gateway: SocketGateway, fanout: Fanout) -> None:
    """Show clients, their requests, and how fast they get their prices."""
    page.gauge("connected_clients", "Clients connected now.", lambda: gateway.connection_count)
    page.gauge(
        "subscriptions",
        "Subscriptions of all clients.",
        lambda: sum(gateway.get_subscription_stats().values()),
    )
    page.counter(
        "sessions",
        "Clients that asked for their session back: got it, or a new one.",
        lambda: {"recovered": gateway.recovery.recovered, "refused": gateway.recovery.refused},
        label="outcome",
    )
    page.gauge(
        "sessions_waiting",
        "Clients that lost their connection and may still come back.",
        lambda: gateway.recovery.waiting,
    )
    page.counter("requests", "Events received from clients.", lambda: gateway.messages_in)
    page.counter(
        "requests_refused",
        "Requests refused, by the code that the client got.",
        lambda: gateway.refused,
        label="code",
    )
    page.counter(
        "deliveries", "Updates handed to clients: one a recipient.", lambda: gateway.messages_out
    )
    page.counter(
        "errors",
        "Requests and quotes that failed through no client's fault.",
        lambda: gateway.errors,
    )
    page.counter(
        "paced_away", "Updates left out at a client's own pace.", lambda: fanout.paced_away
    )
    page.counter(
        "gatherings",
        "Times that updates left together because there was no time to send each.",
        lambda: fanout.gathered,
    )
    page.latency(
        "delivery_latency_seconds",
        "From the receipt of a quote to its being written, once a recipient.",
        lambda: gateway.latency,
    )


def describe_derived(page: Exposition, derived: Derivations) -> None:
    """Show what is computed out of other symbols' prices."""
    page.gauge("derived_symbols", "Derived symbols computed now.", lambda: derived.active)
    page.counter(
        "derived_prices", "Prices computed out of other symbols'.", lambda: derived.computed
    )
    page.counter(
        "derived_inputs_unused",
        "Updates that counted for less than they should: late, another input too old, window full.",
        lambda: derived.unused,
        label="reason",
    )


def describe_identities(page: Exposition, authenticator: Authenticator, expiry: Expiry) -> None:
    """Show whose tokens were believed, and where the keys are."""
    page.counter(
        "tokens",
        "Tokens looked at, by what became of them: accepted, or the code of the refusal.",
        lambda: authenticator.outcomes,
        label="outcome",
    )
    page.counter("sessions_expired", "Sessions ended with their tokens.", lambda: expiry.ended)
    keys = authenticator.keys
    if isinstance(keys, RemoteKeys):
        page.counter(
            "key_fetches",
            "Requests for the identity provider's keys.",
            lambda: keys.fetches,
            label="outcome",
        )
        page.gauge("keys", "Keys of the identity provider that are known.", lambda: keys.known)


def describe_streaming(page: Exposition, streaming: Streaming) -> None:
    """Show what comes in from the provider and what becomes of it."""
    page.gauge(
        "streaming_symbols",
        "Symbols that stream, by whether their price is known.",
        lambda: Counter(
            "live" if live else "waiting" for live in streaming.get_streaming_status().values()
        ),
        label="state",
    )
    page.counter("quotes_accepted", "Quotes believed.", lambda: streaming.producer.accepted)
    page.counter(
        "quotes_unchanged",
        "Quotes believed whose price was not new.",
        lambda: streaming.producer.unchanged,
    )
    page.counter(
        "quotes_rejected",
        "Quotes not believed.",
        lambda: streaming.producer.rejected,
        label="reason",
    )
    page.counter(
        "provider_errors",
        "Failures of the provider, one a symbol.",
        lambda: streaming.producer.errors,
    )
    page.counter(
        "provider",
        "Requests to the provider, those that failed, and connections to it that were lost.",
        lambda: streaming.producer.provider_traffic,
        label="what",
    )
    page.gauge(
        "provider_circuit_open",
        "1 while the provider is left alone because it keeps failing.",
        lambda: float(streaming.producer.circuit is not CircuitState.CLOSED),
    )


def describe_bus(page: Exposition, bus: EventBus) -> None:
    """Show the event bus."""
    page.gauge(
        "bus_pending",
        "Events that wait for their subscribers.",
        lambda: sum(subscription.pending for subscription in bus.subscriptions),
    )
    page.counter("bus_events_published", "Events published.", lambda: bus.published)
    page.counter(
        "bus_events",
        "What became of events, once for each subscriber.",
        lambda: {
            name: getattr(bus.counts, name)
            for name in ("delivered", "retried", "dead", "expired", "dropped", "abandoned")
        },
        label="outcome",
    )


def describe_writer(page: Exposition, writer: WriteBehind) -> None:
    """Show the way into the store."""
    page.gauge("store_pending", "Updates that wait to be stored.", lambda: writer.state.pending)
    page.gauge(
        "store_healthy", "1 while the store takes updates.", lambda: float(writer.state.healthy)
    )
    page.counter("store_written", "Updates stored.", lambda: writer.state.stored)
    page.counter("store_shed", "Updates given up, never stored.", lambda: writer.state.dropped)


def describe_store(page: Exposition, store: QuoteStore) -> None:
    """Show what the store could not keep, or could not read."""
    if isinstance(store, MemoryQuoteStore):
        page.counter(
            "store_evicted",
            "Updates that made room for others: too many symbols, or too many updates.",
            lambda: store.evicted_updates,
        )
    if isinstance(store, RedisQuoteStore):
        page.counter(
            "store_undecodable",
            "Readings of something that another program wrote, and is no update.",
            lambda: store.undecodable,
        )


def describe_web(page: Exposition, web: WebDoor) -> None:
    """Show what is asked over plain HTTP."""
    page.counter("http_requests", "Requests, by route.", lambda: web.router.requests, label="route")
    page.counter(
        "http_requests_refused",
        "Requests refused, by the code that the client got.",
        lambda: {**web.router.refused, "forbidden_origin": web.cors.refused},
        label="code",
    )


def describe_engine(page: Exposition, servers: Sequence[AsyncServer]) -> None:
    """Show the engine's own counters, all servers together."""

    def totals() -> Counter[str]:
        total: Counter[str] = Counter()
        for server in servers:
            total.update(server.metrics.as_dict())
        return Counter({name: total[name] for name in total if name not in _TRAFFIC})

    page.counter("engine", "What the Engine.IO layer counted.", totals, label="what")


def describe_monitor(page: Exposition, monitor: PerformanceMonitor) -> None:
    """Show what only the monitor measures, as of its last interval."""

    def last(name: str) -> float:
        metrics = monitor.current_metrics()
        return getattr(metrics, name) if metrics is not None else 0.0

    page.gauge(
        "event_loop_lag_seconds",
        "Longest wait of a ready task in the last interval.",
        lambda: last("event_loop_lag") / 1000,
    )
    page.gauge("error_ratio", "Errors for each message handled.", lambda: last("error_rate"))
    page.gauge(
        "alerts_firing",
        "1 for each alert that fires.",
        lambda: {alert.type: 1.0 for alert in monitor.firing_alerts},
        label="alert",
    )


def describe_documents(page: Exposition, sync: SyncService, news: DocumentNews) -> None:
    """Show documents, and what devices send."""
    page.counter(
        "sync_items",
        "Changes of documents that devices sent, by what became of them.",
        lambda: sync.results,
        label="status",
    )
    page.counter(
        "sync_failures",
        "Requests for documents that the store did not answer.",
        lambda: sync.failures,
    )
    page.latency(
        "sync_latency_seconds",
        "From the receipt of changes to their being durable, once a request.",
        lambda: sync.latency,
    )
    page.counter(
        "document_notifications",
        "Clients told of a change that another made.",
        lambda: news.told,
    )
    page.gauge(
        "document_store",
        "Users, documents, conflicts that wait, and bytes that the store holds.",
        lambda: {
            name: float(getattr(sync.figures, name))
            for name in ("users", "documents", "conflicts", "size")
        },
        label="what",
    )
    page.counter(
        "documents_forgotten",
        "Records of deletions, decided conflicts and changes that grew too old.",
        lambda: sync.forgotten,
    )
