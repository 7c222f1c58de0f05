"""What a server says that won't send a symbol."""

from stockstream.wire.replies import ErrorReply


def refusal(symbol: str | None, *, code: str, message: str) -> ErrorReply:
    return ErrorReply(type="subscribe_error", code=code, message=message, symbol=symbol)
