"""Counters of one server: plain integers, for whoever exports them."""

from dataclasses import asdict, dataclass


@dataclass(kw_only=True, slots=True)
class Metrics:
    """What happened since the start; only ever grows, except where a gauge is said."""

    #: Sessions opened, by the transport they started on.
    opened_polling: int = 0
    opened_websocket: int = 0
    opened_stream: int = 0
    #: Sessions closed, whatever the reason.
    closed: int = 0
    #: Sessions that moved from polling to WebSocket, and attempts that failed.
    upgraded: int = 0
    upgrades_failed: int = 0
    #: Handshakes turned away: server full, address full, too many a second, shutting down.
    refused_connections: int = 0
    refused_address: int = 0
    refused_rate: int = 0
    refused_shutdown: int = 0
    #: Requests from origins that are not allowed.
    refused_origin: int = 0
    #: Requests that the protocol forbids: unknown session, wrong transport, method or version.
    refused_request: int = 0
    #: Connections closed for malformed frames or packets, or for exceeding a limit of size.
    violations: int = 0
    oversize: int = 0
    #: First requests of a connection whose head did not arrive in time (with `AppRunner` only).
    slow_heads: int = 0
    #: Polling bodies that did not arrive in time, and polls that vanished.
    slow_bodies: int = 0
    lost_polls: int = 0
    #: Clients closed for not reading, for not answering pings, for never sending CONNECT.
    slow_consumers: int = 0
    ping_timeouts: int = 0
    connect_timeouts: int = 0
    #: Times that a client's socket was not read for a while because it sent too much.
    throttled: int = 0
    held: int = 0
    #: Messages replaced in outboxes by newer ones with the same key.
    conflated: int = 0
    #: Messages that never left because their client was closed first.
    dropped: int = 0
    #: Socket.IO CONNECTs accepted and refused, handlers that failed, acknowledgements nobody
    #: waited for and acknowledgements forgotten because a client owed too many.
    connects: int = 0
    connects_refused: int = 0
    handler_errors: int = 0
    unknown_acknowledgements: int = 0
    forgotten_acknowledgements: int = 0
    #: Handlers stopped, or never called, because their client was gone for too long.
    handlers_stopped: int = 0
    #: Traffic of sessions that have ended; open ones count in their `Connection`.
    bytes_in: int = 0
    bytes_out: int = 0
    messages_in: int = 0
    messages_out: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return all counters by name."""
        return asdict(self)
