"""Calls handlers that other people wrote, in the forms that python-socketio allows."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import socketio

from stockstream.engine.metrics import Metrics
from stockstream.engine.shell.server import EngineServer

#: Arguments that an older form of a lifecycle handler does without.
_OPTIONAL = {"connect": 1, "disconnect": 1}


@lru_cache(maxsize=1024)
def most_arguments(handler: Callable[..., Any]) -> int | None:
    """Return how many positional arguments a handler takes, None for any number."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return None
    return sum(
        each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD} for each in parameters
    )


async def call(handler: Callable[..., Any], args: tuple[Any, ...], optional: int = 0) -> Any:
    """Call a handler, a coroutine function or not, and return its result.

    Args:
        handler: Anything that can be called.
        args: For it.
        optional: How many of the last ones it may do without, as older forms of connect and
            disconnect handlers do.
    """
    if optional:
        most = most_arguments(handler)
        if most is not None:
            args = args[: max(most, len(args) - optional)]
    result = handler(*args)
    # Not iscoroutinefunction: partials and callable objects may be asynchronous, too.
    if inspect.isawaitable(result):
        return await result
    return result


class HandlerServer(socketio.AsyncServer):
    """The part of `AsyncServer` that finds handlers and calls them."""

    eio: EngineServer

    @property
    def metrics(self) -> Metrics:
        """Counters of this server."""
        return self.eio.metrics

    def _get_event_handler(
        self, event: str, namespace: str, args: tuple[Any, ...]
    ) -> tuple[Any, tuple[Any, ...]]:
        if event != "*":
            found: tuple[Any, tuple[Any, ...]] = super()._get_event_handler(event, namespace, args)
            return found
        # An event of that very name must not pass for the registration of a catch-all handler.
        handler = self.handlers.get(namespace, {}).get("*")
        if handler is not None:
            return handler, (event, *args)
        handler = self.handlers.get("*", {}).get("*")
        return handler, (event, namespace, *args)

    async def _trigger_event(self, event: str, namespace: str, *args: Any) -> Any:
        optional = _OPTIONAL.get(event, 0)
        handler, arguments = self._get_event_handler(event, namespace, args)
        if handler is not None:
            return await call(handler, arguments, optional)
        handler, arguments = self._get_namespace_handler(namespace, args)
        if handler is None:
            return self.not_handled
        own = type(handler).trigger_event is not socketio.AsyncNamespace.trigger_event
        if own:
            return await handler.trigger_event(event, *arguments)
        method = getattr(handler, f"on_{event}", None)
        if method is None:
            return self.not_handled
        return await call(method, arguments, optional)

    def _log_failure(self, event: str, sid: str) -> None:
        self.metrics.handler_errors += 1
        # Called where the exception was caught, and nowhere else.
        self.logger.exception(  # noqa: LOG004
            "handler of event %r of client %s failed", event, sid
        )
