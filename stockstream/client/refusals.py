"""What a server refuses, as errors of the one tree."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from stockstream.errors import OtherRefusalError, RefusedError
from stockstream.wire.replies import ErrorReply


def refusal(code: str, message: str, symbol: str | None, event: str | None) -> RefusedError:
    """Return the error of a code of the contract."""
    for kind in _kinds(RefusedError):
        if kind.code == code and kind is not OtherRefusalError:
            return kind(message, symbol=symbol, event=event)
    return OtherRefusalError(message, code, symbol=symbol, event=event)


def _kinds(root: type[RefusedError]) -> Iterator[type[RefusedError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from _kinds(kind)


def raise_where_refused(answer: Any) -> None:
    """Raise what an answer refuses.

    Raises:
        RefusedError: it is a refusal.
    """
    if isinstance(answer, Mapping) and "code" in answer and "message" in answer:
        try:
            said = msgspec.convert(answer, ErrorReply)
        except msgspec.ValidationError:
            raise OtherRefusalError("the server refuses", "unknown") from None
        raise refusal(said.code, said.message, said.symbol, said.event)
