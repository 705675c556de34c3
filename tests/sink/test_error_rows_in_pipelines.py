"""The table of errors in a pipeline: what may pass does not fail the bundle, what is final does."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from beam_zerobus import ConfigurationError, ConversionError, RejectedError, Retry
from beam_zerobus.delivery import limits
from beam_zerobus.delivery.failures import FailureKind
from beam_zerobus.delivery.sdk_errors import ERRORS
from beam_zerobus.emulator import Emulator, Faults, ScriptedFault
from tests.emulator.sdk import FORMATS

pytestmark = pytest.mark.hostile

TABLE = "main.iot.air"
QUICK = Retry(max_retries=1, initial_backoff=0.01, max_backoff=0.02)
FINAL = {
    FailureKind.NOT_FOUND: ConfigurationError,
    FailureKind.FORBIDDEN: RejectedError,
    FailureKind.REJECTED: ConversionError,  # at opening; mid-stream its rows are searched
}
CASES = {
    f"{status} {row.number or ''}".strip(): (status, row)
    for row in ERRORS
    if row.source in ("status", "number")
    for status in row.conditions
}
PLACES = [(case, place) for case in CASES for place in ("opening", "open") if (case, place) != ("OK", "opening")]


@pytest.mark.parametrize("wire_format", FORMATS)
@pytest.mark.parametrize(("case", "place"), PLACES)
def test_a_pipeline_does_what_the_row_says(  # noqa: PLR0917
    emulator: Emulator, sink: Any, run: Any, monkeypatch: pytest.MonkeyPatch, wire_format: str, case: str, place: str
) -> None:
    status, row = CASES[case]
    monkeypatch.setattr(limits, "BLOCKED_PAUSE", 0.05)
    table = emulator.create_table(TABLE, "id BIGINT NOT NULL")
    message = f"Error {row.number}: so it is" if row.number else "so it is"
    kind, where = ("reject", "at_stream") if place == "opening" else ("status", "at_call")
    times = 99 if row.kind in FINAL else 1
    emulator.faults = Faults(script=(ScriptedFault(kind, code=status, message=message, times=times, **{where: 1}),))
    searched = row.kind is FailureKind.REJECTED and place == "open"

    def build(pipeline: beam.Pipeline) -> None:
        rows = pipeline | beam.Create([{"id": 1}, {"id": 2}], reshuffle=False)
        result = rows | sink(
            TABLE, schema="unity_catalog", wire_format=wire_format, on_bad_rows="dead_letter", retry=QUICK
        )
        failed = result.failed_rows | beam.Map(lambda failed: (failed.element["id"], failed.error_type))
        rejected = [(1, "rejected_by_service"), (2, "rejected_by_service")]
        assert_that(failed, equal_to(rejected if searched else []))

    if row.kind in FINAL and not searched:
        with pytest.raises(FINAL[row.kind], match=message):
            run(build)
    else:
        run(build)
    written = [] if row.kind in FINAL else [1, 2]
    assert sorted(table.to_arrow()["id"].to_pylist()) == written
