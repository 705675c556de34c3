"""Which providers a recorder uses: the application's global ones, or ours.

Ours are made in the process that sends, at the first batch, once for each configuration, and its writers share them.
They do not replace the global ones.
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
import time

from opentelemetry import metrics, trace

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.logs import get_logger
from beam_zerobus.options import Telemetry
from beam_zerobus.telemetry.counts import Counts
from beam_zerobus.telemetry.destinations import check_destinations, has_destination
from beam_zerobus.telemetry.guard import note_failure
from beam_zerobus.telemetry.live_spans import Signals, Source
from beam_zerobus.telemetry.own_providers import OwnProviders
from beam_zerobus.telemetry.quiet import quiet

__all__ = ["find_source", "shutdown"]

_log = get_logger(__name__)

_LOOK_INTERVAL = 0.1  # seconds; for providers that were installed later


def find_source(options: Telemetry | None) -> Source:
    """Choose the providers that options and environment ask for.

    Raises:
        ConfigurationError: The options need what is not installed, or name a directory that cannot be written.
    """
    if options is not None and (options.endpoint is not None or options.output_dir is not None):
        check_destinations(options)
        return _own_source(options)
    if _GLOBAL.look() is None and has_destination(options):
        options = options or Telemetry()
        try:
            check_destinations(options)
        except ConfigurationError as error:
            # The environment may have been set for other programs of the cluster.
            _warn_of_environment(str(error))
            return _GLOBAL
        return _own_source(options)
    return _GLOBAL


@functools.cache
def _warn_of_environment(reason: str) -> None:
    _log.warning("OTEL_EXPORTER_OTLP_* is set, but no telemetry is sent: %s", reason)


class _GlobalSource:
    """The application's providers, also when they are installed later than the writer.

    OpenTelemetry reads the environment when it is asked for them, so that is not done for each batch.

    Invariant, under the one lock: `_signals` belong to `_seen`, the pair of providers that was global last.
    """

    def __init__(self) -> None:
        self.counts = Counts()
        self._lock = threading.Lock()
        self._seen: tuple[object, object] | None = None
        self._signals: Signals | None = None
        self._look_again_at = 0.0

    @property
    def signals(self) -> Signals | None:
        now = time.monotonic()
        if now >= self._look_again_at:
            self._look_again_at = now + _LOOK_INTERVAL
            return self.look()
        return self._signals

    def look(self) -> Signals | None:
        """Return what the providers of this moment record to."""
        try:
            providers = trace.get_tracer_provider(), metrics.get_meter_provider()
            with self._lock:
                if providers != self._seen:
                    self._seen, self._signals = providers, None
                    if any(map(_records, providers)):
                        self._signals = Signals(*providers, self.counts)
        except Exception as error:  # noqa: BLE001  the application may bring its own provider
            note_failure(error)
        return self._signals

    def flush(self, timeout: float | None) -> None:
        """Do nothing: the application decides when its providers export."""

    def start_anew(self) -> None:
        """Go on in a forked child."""
        self._lock = threading.Lock()
        self.counts.start_anew()


def _records(provider: object) -> bool:
    """Return whether a provider records: those of the API itself (proxy, no-op) do not."""
    return not type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


class _OwnSource:
    """Providers of our own for one configuration, made when they are first needed.

    Invariant, under the one lock: `_providers` is made at most once a process; where that failed, `_failed` is set.
    """

    def __init__(self, options: Telemetry) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._providers: OwnProviders | None = None
        self._failed = False
        self._nowhere = Counts()

    @property
    def counts(self) -> Counts:
        providers = self._providers or self._make()
        return self._nowhere if providers is None else providers.counts

    @property
    def signals(self) -> Signals | None:
        providers = self._providers or self._make()
        return None if providers is None else providers.signals

    def flush(self, timeout: float | None) -> None:
        if self._providers is not None:
            self._providers.flush(self._options.flush_timeout if timeout is None else timeout)

    def stop(self) -> float:
        """Ask for the last export; return the seconds that may be waited for it."""
        if self._providers is None:
            return 0.0
        self._providers.stop()
        return self._options.flush_timeout

    def wait_until_stopped(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the last export."""
        if self._providers is not None:
            self._providers.wait_until_stopped(timeout)

    def start_anew(self) -> None:
        """Go on in a forked child, whose parent keeps what was made before."""
        _of_the_parent.append(self._providers)
        self._lock = threading.Lock()
        self._providers = None
        self._failed = False

    def _make(self) -> OwnProviders | None:
        with self._lock:
            if self._providers is None and not self._failed:
                try:
                    with quiet():
                        self._providers = OwnProviders(self._options)
                except Exception as error:  # noqa: BLE001  such as an environment variable that the SDK cannot read
                    self._failed = True
                    note_failure(error)
            return self._providers


_GLOBAL = _GlobalSource()
_own: dict[Telemetry, _OwnSource] = {}
_own_lock = threading.Lock()
# A child must not touch inherited channels and threads; kept from the garbage collector, too.
_of_the_parent: list[OwnProviders | None] = []


def _own_source(options: Telemetry) -> _OwnSource:
    with _own_lock:
        return _own.setdefault(options, _OwnSource(options))


# Registered when this module is imported, so before the writers' own handler, and therefore run after it.
@atexit.register
def shutdown() -> None:
    """Export the rest and shut down every provider of ours; recorders that are opened later get new ones."""
    sources = list(_own.values())
    _own.clear()
    deadline = time.monotonic() + max((source.stop() for source in sources), default=0.0)
    for source in sources:
        source.wait_until_stopped(max(0.0, deadline - time.monotonic()))


def _start_anew() -> None:
    global _own_lock  # noqa: PLW0603  a lock may be held by a thread that the child does not have
    _own_lock = threading.Lock()
    _GLOBAL.start_anew()
    for source in _own.values():
        source.start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
