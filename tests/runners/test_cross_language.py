"""What a pipeline in another language sees of the sink: every coder of its rows is one that it knows."""

from __future__ import annotations

from typing import Any, NamedTuple

import apache_beam as beam
import pytest
from apache_beam.portability.api import schema_pb2
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from beam_zerobus.yaml import WriteToZerobus


class Reading(NamedTuple):
    device: str | None
    co2: int | None


@pytest.mark.parametrize(
    "options",
    [{}, {"on_bad_rows": "dead_letter"}, {"error_handling": {"output": "refused"}}, {"batch_across_bundles": True}],
    ids=str,
)
def test_no_row_coder_holds_a_type_of_python_alone(options: dict[str, Any]) -> None:
    """Java decodes the coders of all PCollections in the transform, and fails at a row that holds Any."""
    pipeline = beam.Pipeline(runner=FnApiRunner())
    readings = pipeline | beam.Create([Reading("attic", 417)]).with_output_types(Reading)
    readings | WriteToZerobus("main.iot.air_quality", schema="device STRING", dry_run=True, **options)
    coders = pipeline.to_runner_api().components.coders.values()
    schemas = [
        schema_pb2.Schema.FromString(coder.spec.payload) for coder in coders if coder.spec.urn == "beam:coder:row:v1"
    ]
    assert schemas
    assert [schema for schema in schemas if "pythonsdk_any" in str(schema)] == []
