"""Keeps OpenTelemetry's messages about exporters of ours at DEBUG: they log each failed try."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Final

from beam_zerobus.logs import get_logger
from beam_zerobus.telemetry.redaction import label

__all__ = ["quieten_opentelemetry", "quieten_thread"]

_log = get_logger(__name__)

_is_quiet: Final[ContextVar[bool]] = ContextVar("beam_zerobus_quiet", default=False)


def quieten_thread() -> None:
    """Log what OpenTelemetry reports in this thread at DEBUG from now on, as records of this module."""
    _is_quiet.set(True)


def quieten_opentelemetry() -> None:
    """Let `quieten_thread` apply to every logger that OpenTelemetry's SDK and exporters have so far.

    The filter is on the loggers, as Python does not apply a parent's. The application's own exporters keep their
    messages: they run in other threads.
    """
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            logging.getLogger(name).addFilter(_FILTER)  # adding it twice does nothing


class _QuietToDebug(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if not _is_quiet.get():
            return True
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: %s", record.name, _redact(record))
        return False


_FILTER: Final = _QuietToDebug()


def _redact(record: logging.LogRecord) -> str:
    """Return a message without what a receiver may have repeated, such as a header that holds a key."""
    values = record.args if isinstance(record.args, tuple) else ()
    try:
        return record.msg % tuple(value if isinstance(value, int | float) else label(str(value)) for value in values)
    except (TypeError, ValueError):
        return label(record.msg)
