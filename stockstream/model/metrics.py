"""The measurements of one interval (documented, section 7.1)."""

import msgspec


class PerformanceMetrics(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How the service did in one interval."""

    #: Clients connected at the end of the interval.
    connection_count: int
    #: Messages handled a second: received from clients and sent to them.
    message_rate: float
    #: Mean milliseconds from a price's receipt to its being written to the clients' sockets.
    latency: float
    latency_p50: float
    latency_p99: float
    #: Errors for each message handled, 0 to 1.
    error_rate: float
    #: Resident memory of the process, in MB (1,000,000 bytes).
    memory_usage: float
    #: CPU time of the process in percent of one core.
    cpu_usage: float
    #: Longest time in ms that the event loop kept a ready task waiting.
    event_loop_lag: float
    #: End of the interval, in ms since the epoch.
    timestamp: int
    #: Which node measured it.
    node: str
