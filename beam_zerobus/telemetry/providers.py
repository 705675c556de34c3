"""Which providers a recorder uses: the application's global ones, or ours.

Ours are made in the process that sends, at the first batch, one set a configuration, and are shared by its writers.
They replace nothing: whoever asks OpenTelemetry for the global providers still gets the application's.
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
from beam_zerobus.telemetry.batch import BatchSpan
from beam_zerobus.telemetry.counts import Counts
from beam_zerobus.telemetry.destinations import check_destinations, has_destination
from beam_zerobus.telemetry.guard import note_failure
from beam_zerobus.telemetry.live_spans import LiveSignals, Source, Trace
from beam_zerobus.telemetry.own_providers import Pipeline

__all__ = ["find_source"]

_log = get_logger(__name__)

_LOOK_INTERVAL_NS = 100_000_000  # for providers that were installed later


def find_source(options: Telemetry | None) -> Source:
    """Choose the providers that options and environment ask for.

    Raises:
        ConfigurationError: The options need what is not installed, or name a directory that cannot be written.
    """
    if options is not None and (options.endpoint is not None or options.output_dir is not None):
        check_destinations(options)
        return _own_source(options)
    if not _GLOBAL.records() and has_destination(options):
        options = options or Telemetry()
        try:
            check_destinations(options)
        except ConfigurationError as error:
            # The environment may have been set for others, by whoever runs the cluster.
            _warn_of_environment(str(error))
            return _GLOBAL
        return _own_source(options)
    return _GLOBAL


@functools.cache
def _warn_of_environment(reason: str) -> None:
    _log.warning("OTEL_EXPORTER_OTLP_* is set, but no telemetry is sent: %s", reason)


class _GlobalSource:
    """The application's providers, also when they are installed later than the writer.

    Asking for them takes OpenTelemetry a look at the environment, so that is not done for each batch.

    Invariant, under the one lock: `_signals` belong to `_seen`, the pair of providers that was global last.
    """

    def __init__(self) -> None:
        self.counts = Counts()
        self._lock = threading.Lock()
        self._seen: tuple[object, object] | None = None
        self._signals: LiveSignals | None = None
        self._look_again_at = 0  # of time.perf_counter_ns

    def records(self) -> bool:
        """Return whether there are providers that do anything."""
        self._look()
        return self._signals is not None

    def begin(self, batch: BatchSpan) -> Trace | None:
        if batch.started >= self._look_again_at:
            self._look_again_at = batch.started + _LOOK_INTERVAL_NS
            self._look()
        signals = self._signals  # another thread may be looking
        if signals is None:
            return None
        try:
            return signals.begin(batch)
        except Exception as error:  # noqa: BLE001  providers may be anybody's
            note_failure(error)
            return None

    def _look(self) -> None:
        try:
            providers = trace.get_tracer_provider(), metrics.get_meter_provider()
            with self._lock:
                if providers != self._seen:
                    self._seen, self._signals = providers, None
                    if any(map(_records, providers)):
                        self._signals = LiveSignals(*providers, self.counts)
        except Exception as error:  # noqa: BLE001  providers may be anybody's
            note_failure(error)

    def flush(self, timeout: float | None) -> None:
        """Do nothing: when its providers export is the application's business."""

    def start_anew(self) -> None:
        """Go on in a forked child."""
        self._lock = threading.Lock()
        self.counts.start_anew()


def _records(provider: object) -> bool:
    """Return whether a provider does anything: those of the API itself (proxy, no-op) do not."""
    return not type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


class _OwnSource:
    """Providers of our own for one configuration, made when they are first needed.

    Invariant, under the one lock: `_pipeline` is made at most once a process; where that failed, `_failed` is set.
    """

    def __init__(self, options: Telemetry) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._pipeline: Pipeline | None = None
        self._failed = False
        self._nowhere = Counts()

    @property
    def counts(self) -> Counts:
        pipeline = self._pipeline or self._make()
        return self._nowhere if pipeline is None else pipeline.counts

    def begin(self, batch: BatchSpan) -> Trace | None:
        pipeline = self._pipeline or self._make()
        return None if pipeline is None else pipeline.signals.begin(batch)

    def flush(self, timeout: float | None) -> None:
        if self._pipeline is not None:
            self._pipeline.flush(self._options.flush_timeout if timeout is None else timeout)

    def stop(self) -> float:
        """Ask for the last export; return the seconds that may be waited for it."""
        if self._pipeline is None:
            return 0.0
        self._pipeline.stop()
        return self._options.flush_timeout

    def close(self, timeout: float) -> None:
        """Shut down, waiting at most `timeout` seconds for the last export."""
        if self._pipeline is not None:
            self._pipeline.close(timeout)

    def start_anew(self) -> None:
        """Go on in a forked child, whose parent keeps what was made before."""
        _of_the_parent.append(self._pipeline)
        self._lock = threading.Lock()
        self._pipeline = None
        self._failed = False

    def _make(self) -> Pipeline | None:
        with self._lock:
            if self._pipeline is None and not self._failed:
                try:
                    self._pipeline = Pipeline(self._options)
                except Exception as error:  # noqa: BLE001  environment variables that the SDK cannot read, for one
                    self._failed = True
                    note_failure(error)
            return self._pipeline


_GLOBAL = _GlobalSource()
_own: dict[Telemetry, _OwnSource] = {}
_own_lock = threading.Lock()
# Inherited channels and threads are not to be touched, not even by the garbage collector.
_of_the_parent: list[Pipeline | None] = []


def _own_source(options: Telemetry) -> _OwnSource:
    with _own_lock:
        return _own.setdefault(options, _OwnSource(options))


# Registered when this module is imported, thus before the writers' own handler, thus run after it.
@atexit.register
def _close_all() -> None:
    sources = list(_own.values())
    deadline = time.monotonic() + max((source.stop() for source in sources), default=0.0)
    for source in sources:
        source.close(max(0.0, deadline - time.monotonic()))


def _start_anew() -> None:
    global _own_lock  # noqa: PLW0603  a lock may be held by a thread that the child does not have
    _own_lock = threading.Lock()
    _GLOBAL.start_anew()
    for source in _own.values():
        source.start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
