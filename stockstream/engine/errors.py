"""Everything that the engine raises, as one tree.

EngineError
├── ConfigurationError      a constructor argument that cannot work
├── EncodeError             a value that cannot be put on the wire
├── SessionNotFoundError    the client is not, or no longer, connected
├── ShutdownError           the server no longer takes work
├── UnsupportedError        a feature of python-socketio that needs its own engine
├── HandshakeRefused        a request that gets an HTTP error instead of a session
└── ProtocolViolation       a client broke the protocol; its connection is closed
    ├── FrameViolation      in a WebSocket frame
    ├── PacketViolation     in an Engine.IO or Socket.IO packet
    └── LimitViolation      by exceeding one of the limits
"""


class EngineError(Exception):
    """Base of all errors of the engine; `code` names the kind for programs."""

    code = "engine_error"


class ConfigurationError(EngineError, ValueError):
    """A constructor argument that cannot work; names the key and the value."""

    code = "configuration"

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(key, value, allowed)
        self.key = key
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{self.key} has value {self.value!r}; allowed: {self.allowed}"


class EncodeError(EngineError, ValueError):
    """A value that cannot be sent, such as NaN; the client was sent nothing of it."""

    code = "unencodable"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot be sent: {self.reason}"


class SessionNotFoundError(EngineError, KeyError):
    """The client is not, or no longer, connected here."""

    code = "session_not_found"

    def __init__(self, sid: str | None) -> None:
        super().__init__(sid)
        self.sid = sid

    def __str__(self) -> str:
        return f"no session {self.sid!r}"


class ShutdownError(EngineError):
    """The server is shutting down and takes no new work."""

    code = "shutdown"

    def __str__(self) -> str:
        return "the server is shutting down"


class UnsupportedError(EngineError):
    """A feature of python-socketio that reaches into its own engine."""

    code = "unsupported"

    def __init__(self, feature: str) -> None:
        super().__init__(feature)
        self.feature = feature

    def __str__(self) -> str:
        return f"{self.feature} needs python-engineio and does not work on this engine"


class HandshakeRefused(EngineError):
    """A request is answered with an HTTP error; trying again helps where `retry_after` is set."""

    code = "refused"

    def __init__(
        self, status: int, number: int, reason: str, *, retry_after: int | None = None
    ) -> None:
        super().__init__(status, number, reason)
        #: HTTP status of the answer.
        self.status = status
        #: Error number of Node's Engine.IO server, which clients may know.
        self.number = number
        #: What clients are told.
        self.reason = reason
        #: Seconds after which another attempt may succeed.
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}"


class ProtocolViolation(EngineError):
    """A client broke the protocol; its connection is closed."""

    code = "protocol"
    #: WebSocket close code that tells the client why (RFC 6455, 7.4.1).
    close_code = 1002

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class FrameViolation(ProtocolViolation):
    """A WebSocket frame that RFC 6455 forbids."""

    code = "frame"

    def __init__(self, reason: str, close_code: int = 1002) -> None:
        super().__init__(reason)
        self.close_code = close_code


class PacketViolation(ProtocolViolation):
    """A packet or payload that Engine.IO 4 or Socket.IO 5 forbids."""

    code = "packet"


class LimitViolation(ProtocolViolation):
    """More or larger than a limit allows; `limit` is the name of the setting."""

    code = "limit"
    close_code = 1009

    def __init__(self, limit: str) -> None:
        super().__init__(f"exceeds {limit}")
        self.limit = limit
