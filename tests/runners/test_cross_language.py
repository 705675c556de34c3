"""The sink as pipelines in other languages use it: through Beam's expansion service, here in this process.

Only the other language is missing; the tests in `java` and `go` have that.
"""

# No `from __future__ import annotations`: Beam needs the hints of a NamedTuple as types, not as text.

from typing import Any, NamedTuple, Optional

import apache_beam as beam
import pytest
from apache_beam import coders
from apache_beam.portability.api import schema_pb2
from apache_beam.runners.portability.expansion_service import ExpansionServiceServicer
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.external import ImplicitSchemaPayloadBuilder
from apache_beam.transforms.fully_qualified_named_transform import (
    PYTHON_FULLY_QUALIFIED_NAMED_TRANSFORM_URN,
    FullyQualifiedNamedTransform,
)

from beam_zerobus.emulator import Emulator

TABLE = "main.iot.air_quality"
COLUMNS = "device STRING NOT NULL, co2 INT"


class Reading(NamedTuple):
    device: Optional[str]  # noqa: UP045 - Beam does not support `str | None`
    co2: Optional[int]  # noqa: UP045


coders.registry.register_coder(Reading, coders.RowCoder)

READINGS = [Reading("attic", 417), Reading("cellar", None), Reading(None, 655)]


def expanded(**settings: Any) -> beam.ExternalTransform:
    """Return the sink as another language has it: named in a message, and expanded by the service."""
    payload = ImplicitSchemaPayloadBuilder(
        {"constructor": "beam_zerobus.yaml.WriteToZerobus", "kwargs": beam.Row(table=TABLE, schema=COLUMNS, **settings)}
    )
    return beam.ExternalTransform(PYTHON_FULLY_QUALIFIED_NAMED_TRANSFORM_URN, payload, ExpansionServiceServicer())


@pytest.fixture(autouse=True)
def allowed():
    with FullyQualifiedNamedTransform.with_filter("beam_zerobus.*"):
        yield


@pytest.mark.usefixtures("worker_here")
def test_rows_are_equal_in_the_table_and_rejected_ones_in_the_output(zerobus: Emulator) -> None:
    table = zerobus.create_table(TABLE, COLUMNS)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = pipeline | beam.Create(READINGS).with_output_types(Reading)
        written = rows | expanded(on_bad_rows="dead_letter")
        rejected = written["failed_rows"] | beam.Map(lambda row: (Reading(*row.element), row.error_type, row.attempts))
        assert_that(rejected, equal_to([(READINGS[2], "null_in_not_null_column", 0)]))
    assert sorted(table.to_arrow().to_pylist(), key=str) == [reading._asdict() for reading in READINGS[:2]]


@pytest.mark.parametrize("settings", [{}, {"on_bad_rows": "dead_letter"}, {"batch_across_bundles": True}], ids=str)
def test_no_row_coder_has_a_type_that_only_python_has(settings: dict[str, Any]) -> None:
    """Java decodes the coders of all PCollections in the transform, and fails on a row with a field of type Any."""
    pipeline = beam.Pipeline(runner=FnApiRunner())
    rows = pipeline | beam.Create(READINGS).with_output_types(Reading)
    rows | expanded(dry_run=True, **settings)
    coders_sent = pipeline.to_runner_api().components.coders.values()
    schemas = [
        schema_pb2.Schema.FromString(coder.spec.payload)
        for coder in coders_sent
        if coder.spec.urn == "beam:coder:row:v1"
    ]
    assert schemas
    assert [schema for schema in schemas if "pythonsdk_any" in str(schema)] == []


def test_the_form_of_yaml_is_rejected_elsewhere_with_the_remedy() -> None:
    rows = beam.Pipeline(runner=FnApiRunner()) | beam.Create(READINGS).with_output_types(Reading)
    with pytest.raises(RuntimeError, match='on_bad_rows="dead_letter"'):
        rows | expanded(error_handling=beam.Row(output="rejected"))
