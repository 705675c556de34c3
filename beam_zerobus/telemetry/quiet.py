"""Keeps messages about exporters of ours at DEBUG, and secrets out of them.

Exporters log each failed try, and with it what the receiver says; a variable with headers that OpenTelemetry cannot
read is logged whole. The application's own exporters keep their messages: they do not run inside `quiet`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Final

from beam_zerobus.logs import get_logger

__all__ = ["quiet"]

_log = get_logger(__name__)

_LOGGERS: Final = ("opentelemetry", "urllib3", "requests", "grpc")

_is_quiet: Final[ContextVar[bool]] = ContextVar("beam_zerobus_quiet", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Log what OpenTelemetry, and what it sends with, report inside at DEBUG, as records of this module."""
    # The filter is on the loggers, as Python does not apply a parent's, and on all that there are by now.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(_LOGGERS):
            logging.getLogger(name).addFilter(_FILTER)  # adding it twice does nothing
    token = _is_quiet.set(True)
    try:
        yield
    finally:
        _is_quiet.reset(token)


class _QuietToDebug(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if not _is_quiet.get():
            return True
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: %s", record.name, _redact(record))
        return False


_FILTER: Final = _QuietToDebug()


def _redact(record: logging.LogRecord) -> str:
    """Return a message with numbers and statuses only: all else may hold a header's key, or what a receiver repeats."""
    values = record.args if isinstance(record.args, tuple) else ()
    try:
        return record.msg % tuple(value if isinstance(value, int | float | Enum) else "other" for value in values)
    except (TypeError, ValueError):
        return "other"
