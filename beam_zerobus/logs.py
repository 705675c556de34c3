"""Trace and span ids in log records, so that a log line leads to its trace."""

from __future__ import annotations

import logging

from opentelemetry import trace

__all__ = ["TraceContextFilter", "get_logger"]


class TraceContextFilter(logging.Filter):
    """Gives each record ``trace_id`` and ``span_id``, in hexadecimal; both are empty outside a span.

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

    Python applies a logger's filters only to records made through that very logger, hence one filter a logger.

    Example:
        >>> get_logger("beam_zerobus.writer").name
        'beam_zerobus.writer'
    """
    logger = logging.getLogger(name)
    logger.addFilter(_FILTER)  # adding it twice does nothing
    return logger
