"""Log records that lead to their trace, by its ids, and hold no value of a row."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final, TypeAlias

from opentelemetry import trace
from opentelemetry.trace import SpanContext

__all__ = ["SpanOfThread", "TraceContextFilter", "get_logger", "outline", "span_of_thread"]

SpanOfThread: TypeAlias = "Callable[[], SpanContext] | None"

span_of_thread: Final[ContextVar[SpanOfThread]] = ContextVar("beam_zerobus_span", default=None)
"""Tells the ids of a span of our own providers, which OpenTelemetry's context does not know; asked where one logs."""


class TraceContextFilter(logging.Filter):
    """Gives each record ``trace_id`` and ``span_id``, in hexadecimal; both are empty outside a span.

    Example:
        >>> record = logging.makeLogRecord({})
        >>> TraceContextFilter().filter(record), record.trace_id
        (True, '')
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the ids; every record passes."""
        ids = span_of_thread.get()
        context = trace.get_current_span().get_span_context() if ids is None else ids()
        record.trace_id = trace.format_trace_id(context.trace_id) if context.is_valid else ""
        record.span_id = trace.format_span_id(context.span_id) if context.is_valid else ""
        return True


_FILTER = TraceContextFilter()


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module, whose records carry ``trace_id`` and ``span_id``.

    Python applies a logger's filters only to records made through that very logger, hence one filter a logger.

    Example:
        >>> get_logger("beam_zerobus.writer.zerobus_writer").name
        'beam_zerobus.writer.zerobus_writer'
    """
    logger = logging.getLogger(name)
    logger.addFilter(_FILTER)  # adding it twice does nothing
    return logger


def outline(error: BaseException) -> str:
    """Return an error's type and where it was raised, without its message: that may repeat what was at hand.

    Example:
        >>> outline(ValueError("could not convert 'Alice'"))
        'ValueError'
    """
    return "\n".join([type(error).__name__, *traceback.format_tb(error.__traceback__)]).rstrip()
