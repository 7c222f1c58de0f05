"""Who wants to hear of what (documented, section 3.1: ``on`` and ``off``)."""

import logging
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

log = logging.getLogger(__name__)

Handler = Callable[[Any], object]


class Handlers:
    """Functions by the name of the event that they are called for."""

    def __init__(self) -> None:
        self._handlers: dict[str, list[Handler]] = {}

    def on(self, event: str, handler: Handler) -> None:
        """Have a function called with each event of that name, in order.

        Raises:
            TypeError: it is a coroutine function, which nobody would wait for.
        """
        if iscoroutinefunction(handler):
            raise TypeError(f"the handler of {event!r} must be an ordinary function")
        self._handlers.setdefault(event, []).append(handler)

    def off(self, event: str, handler: Handler) -> None:
        """Have it called no more; one that is not there does no harm."""
        handlers = self._handlers.get(event, [])
        if handler in handlers:
            handlers.remove(handler)

    def emit(self, event: str, payload: Any) -> None:
        """Call the handlers of an event; one that raises disturbs nobody else."""
        for handler in tuple(self._handlers.get(event, ())):
            try:
                handler(payload)
            except Exception:
                # The border to the program's own code.
                log.exception("a handler of %r failed", event)
