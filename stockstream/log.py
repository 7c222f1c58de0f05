"""Logging: one structured line for each thing that happened, other libraries' lines among them."""

import logging
import sys
from typing import Any, TextIO

import structlog

from stockstream.config import LogFormat, LogLevel


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        # While a progress line is shown, it stands there to make room for log lines.
        self.stream = sys.stderr
        super().emit(record)


def configure_logging(level: LogLevel, form: LogFormat) -> None:
    """Send every log line of the process to stderr in the chosen form."""
    console = form is LogFormat.CONSOLE or (form is LogFormat.AUTO and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if console
        else [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        # What is not wanted costs one empty call.
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = _StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.getLogger("aiohttp.server").addFilter(_is_our_fault)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())


def _is_our_fault(record: logging.LogRecord) -> bool:
    """Leave out what aiohttp logs, with a traceback, of requests that are no HTTP."""
    error = record.exc_info[1] if record.exc_info else None
    # By name: aiohttp is not imported for commands that need no server.
    return type(error).__module__ != "aiohttp.http_exceptions"
