"""What a client may cost, as settings. Each refusal is counted in `stockstream.engine.metrics`."""

from dataclasses import dataclass, fields

from stockstream.engine.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits of one server; all must be greater than zero.

    Raises:
        ConfigurationError: a value is zero or negative.
    """

    #: Open sessions on this server; a handshake beyond gets 503 with Retry-After.
    connections: int = 20_000
    #: Open sessions from one address (an IPv6 client counts by its /64); a handshake beyond
    #: gets 429 with Retry-After. Behind a proxy, name it in `trusted_proxies`.
    connections_per_address: int = 256
    #: Handshakes a second that are let in for good; beyond the burst the rest gets 503.
    handshakes_per_second: float = 500.0
    #: Handshakes let in at once after a quiet while.
    handshake_burst: int = 1_000
    #: Seconds from the handshake to the first accepted Socket.IO CONNECT.
    connect_seconds: float = 45.0
    #: Seconds that a WebSocket may take from its opening to the end of the upgrade.
    upgrade_seconds: float = 10.0
    #: Seconds within which the body of a polling POST must have arrived.
    body_seconds: float = 10.0
    #: Seconds within which the head of a request must have arrived. aiohttp enforces this one:
    #: give it to the runner or `web.run_app` as `keepalive_timeout`. `stockstream.engine.AppRunner`
    #: holds the first request of a connection to it by itself.
    header_seconds: float = 15.0
    #: Packets in one polling POST.
    packets_per_payload: int = 10_000
    #: Inbound messages a second of one client, over time; beyond the burst its socket is read
    #: no faster than this.
    inbound_messages_per_second: float = 500.0
    #: Inbound messages of one client taken at once after a quiet while.
    inbound_burst: int = 5_000
    #: Events of one client that wait for their handlers; beyond, its socket is not read.
    queued_events: int = 1_000
    #: Handlers of one client that run at the same time.
    concurrent_handlers: int = 64
    #: Bytes that wait in a client's outbox; beyond, it is closed as a slow consumer.
    unread_bytes: int = 1_048_576
    #: Bytes that may wait in the transport before the outbox is used (its high-water mark).
    transport_bytes: int = 65_536
    #: Seconds for which something may wait for a client; beyond, it is closed as a slow consumer.
    slow_consumer_seconds: float = 30.0
    #: Seconds that a closing client has to take the last packets and to answer.
    close_seconds: float = 5.0
    #: Seconds that handlers still running have when their client is gone; then they are stopped,
    #: events that wait are dropped, and its disconnect handler gets as long again.
    drain_seconds: float = 10.0
    #: Binary attachments of one Socket.IO packet.
    attachments: int = 10
    #: Bytes of one Socket.IO packet with all its attachments.
    attachment_bytes: int = 4_000_000
    #: Levels of nested arrays and objects in a packet.
    nesting: int = 100
    #: Acknowledgements that one client owes; beyond, the oldest is forgotten.
    pending_acknowledgements: int = 1_000
    #: Namespaces that one client may be connected to.
    namespaces: int = 16

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ConfigurationError(f"limits.{field.name}", value, "a number above 0")
