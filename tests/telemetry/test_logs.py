"""Log records carry the ids of the trace they belong to."""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable

import pyarrow as pa
import pytest
from opentelemetry.sdk.trace import TracerProvider

import beam_zerobus
from beam_zerobus import ZerobusWriter
from beam_zerobus.emulator import Emulator
from beam_zerobus.logs import outline
from beam_zerobus.telemetry import TraceContextFilter, get_logger
from tests.telemetry.receiver import Receiver
from tests.telemetry.test_recorder import TABLE, recorder_to


def test_records_carry_the_current_span(caplog: pytest.LogCaptureFixture) -> None:
    logger = get_logger("beam_zerobus.some_module")
    assert get_logger("beam_zerobus.some_module").filters.count(logger.filters[0]) == 1
    logger.warning("outside")
    with TracerProvider().get_tracer("app").start_as_current_span("request") as span:
        logger.warning("inside")
    outside, inside = [record for record in caplog.records if record.name == logger.name]
    assert (outside.trace_id, outside.span_id) == ("", "")
    assert inside.trace_id == format(span.get_span_context().trace_id, "032x")
    assert inside.span_id == format(span.get_span_context().span_id, "016x")


def test_every_logger_of_the_core_adds_them() -> None:
    for module in pkgutil.walk_packages(beam_zerobus.__path__, "beam_zerobus."):
        if not module.name.startswith("beam_zerobus.emulator"):  # a server of its own
            importlib.import_module(module.name)
    ours = {
        name: logger.filters
        for name, logger in logging.root.manager.loggerDict.items()
        if name.startswith("beam_zerobus.") and isinstance(logger, logging.Logger)
    }
    without = [name for name, filters in ours.items() if not any(isinstance(f, TraceContextFilter) for f in filters)]
    assert [name for name in without if not name.startswith("beam_zerobus.emulator")] == []
    assert {
        "beam_zerobus.delivery.supervisor",
        "beam_zerobus.debug_files.writer",
        "beam_zerobus.telemetry.export_thread",
    } <= set(ours)


def test_records_of_a_step_lead_to_the_batchs_span(
    receive: Callable[..., Receiver], caplog: pytest.LogCaptureFixture
) -> None:
    receiver = receive()
    recorder = recorder_to(receiver)
    logger = get_logger("beam_zerobus.some_module")
    batch = recorder.batch(1, 8)
    with batch.encoding():
        logger.warning("while encoding")
    logger.warning("after")
    batch.finish(1)
    recorder.flush()
    (span,) = receiver.seen.named(f"send {TABLE}")
    records = [record for record in caplog.records if record.name == logger.name]
    assert [record.span_id for record in records] == [span.span_id, ""]
    assert records[0].trace_id == span.trace_id


def test_filter_on_a_handler_serves_every_logger() -> None:
    lines: list[str] = []
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("[%(trace_id)s] %(message)s"))
    handler.addFilter(TraceContextFilter())
    handler.emit = lambda record: lines.append(handler.format(record))  # type: ignore[method-assign]
    logger = logging.getLogger("somebody.elses")
    logger.addHandler(handler)
    logger.warning("hello")
    logger.removeHandler(handler)
    assert lines == ["[] hello"]


def test_batches_leave_no_line_at_info(
    emulator: Emulator, connect: Callable[..., ZerobusWriter], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    emulator.create_table(TABLE, "id BIGINT")
    with connect(TABLE, schema="id BIGINT") as writer:
        for _ in range(10):
            writer.send_batch(pa.record_batch({"id": [1, 2]}))
    ours = [record for record in caplog.records if record.name.startswith("beam_zerobus")]
    assert [record for record in ours if not record.name.startswith("beam_zerobus.emulator")] == []


UNREACHABLE = """
import pyarrow as pa
from beam_zerobus import Retry, StaticHeaders, TransientError, ZerobusWriter
with ZerobusWriter(
    "a.b.c", endpoint="http://127.0.0.1:9", schema="id BIGINT", retry=Retry(max_retries=0),
    credentials=StaticHeaders(headers={"authorization": "Bearer none"}),
) as writer:
    try:
        writer.send_batch(pa.record_batch({"id": [1]}))
    except TransientError:
        print("unreachable")
"""


@pytest.mark.parametrize("level", [None, "debug"])
def test_sdk_is_silent_unless_asked(level: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RUST_LOG"}
    done = subprocess.run(
        [sys.executable, "-c", UNREACHABLE],
        env=environment | ({"RUST_LOG": level} if level else {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "unreachable" in done.stdout, done.stderr
    assert bool(level) == ("zerobus" in done.stderr + done.stdout.replace("unreachable", ""))


def test_outline_has_frames_and_no_message() -> None:
    value = "".join(["Al", "ice"])  # a frame shows the line of the source
    try:
        raise ValueError(value)
    except ValueError as error:
        text = outline(error)
    assert text.startswith("ValueError\n")
    assert "test_logs.py" in text
    assert value not in text
