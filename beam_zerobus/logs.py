"""Log records that carry the ids of their trace, and no value of a row; and Beam's import without its own records."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace

__all__ = ["TraceContextFilter", "get_logger", "importing_beam", "outline"]


class TraceContextFilter(logging.Filter):
    """Adds to each record ``trace_id`` and ``span_id``, in hexadecimal; both are empty outside a span.

    Example:
        >>> record = logging.makeLogRecord({})
        >>> TraceContextFilter().filter(record), record.trace_id
        (True, '')
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the ids; every record passes."""
        context = trace.get_current_span().get_span_context()
        record.trace_id = trace.format_trace_id(context.trace_id) if context.is_valid else ""
        record.span_id = trace.format_span_id(context.span_id) if context.is_valid else ""
        return True


_FILTER = TraceContextFilter()


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module, whose records carry ``trace_id`` and ``span_id``.

    Each logger needs the filter: Python applies a logger's filters only to records made through that very logger.

    Example:
        >>> get_logger("beam_zerobus.writer.zerobus_writer").name
        'beam_zerobus.writer.zerobus_writer'
    """
    logger = logging.getLogger(name)
    logger.addFilter(_FILTER)  # adding it twice does nothing
    return logger


def outline(error: BaseException) -> str:
    """Return an error's type and where it was raised, without its message, which may repeat values.

    Example:
        >>> outline(ValueError("could not convert 'Alice'"))
        'ValueError'
    """
    return "\n".join([type(error).__name__, *traceback.format_tb(error.__traceback__)]).rstrip()


@contextmanager
def importing_beam() -> Iterator[None]:
    """Import Beam in this block, so that it neither configures the root logger nor warns of ``apitools``.

    Where Google's libraries are not installed, Beam (2.77) says so with `logging.warning`. That gives the root logger a
    handler, after which the application's own `logging.basicConfig` does nothing.
    """
    root = logging.getLogger()
    # Root has a handler while Beam is imported, so that Python adds none; it does what Python does without one.
    handler = None if root.handlers else logging.lastResort
    if handler is not None:
        root.addHandler(handler)
    root.addFilter(_not_of_apitools)
    try:
        yield
    finally:
        root.removeFilter(_not_of_apitools)
        if handler is not None:
            root.removeHandler(handler)


def _not_of_apitools(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("apitools not found")
