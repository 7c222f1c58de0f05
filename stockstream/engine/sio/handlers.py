"""Calls handlers that other people wrote, in the forms that python-socketio allows."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any


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
