"""RecordBatches and Tables between stages: each comes back as it was, and a slice without the rows around it."""

from __future__ import annotations

import pickle
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.coders import PickleCoder
from apache_beam.coders.typecoders import registry
from apache_beam.internal import pickler
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus import Batching, WriteToZerobus
from beam_zerobus.sink.arrow_coder import ArrowCoder, register_arrow_coder
from beam_zerobus.sink.failed_rows import FailedRows
from beam_zerobus.sink.own_rows import own_rows
from tests.sink.test_single_rows import COLUMNS, COUNT, EACH, NUMBERS, ONES, VIEW, WORDS

HALVES = pa.array([number % 2 for number in range(COUNT)], pa.int8())
PAIRS = pa.array([number // 2 for number in range(COUNT)], pa.int32())
UNIONS = {
    "dense_union": pa.UnionArray.from_dense(HALVES, PAIRS, [NUMBERS, WORDS]),
    "sparse_union": pa.UnionArray.from_sparse(HALVES, [NUMBERS, VIEW]),
}


class Metres(pa.ExtensionType):
    """An extension type that is not registered, so that Arrow IPC does not know it."""

    def __init__(self) -> None:
        super().__init__(pa.float64(), "tests.metres")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Metres:
        return cls()


LONG = pa.RunEndEncodedArray.from_arrays(pa.array([2**33 - 1, 2**33], pa.int64()), pa.array(["a", "b"]))
METRES = pa.ExtensionArray.from_storage(Metres(), pa.array(range(COUNT), pa.float64()))


def slices_of(array: pa.Array, rows: int) -> st.SearchStrategy[pa.Array]:
    return st.integers(0, len(array) - rows).map(lambda start: array.slice(start, rows))


def nested(inner: st.SearchStrategy[pa.Array]) -> st.SearchStrategy[pa.Array]:
    """Draw columns with others inside of them, each with as many rows as the first of them."""
    return st.one_of(
        st.tuples(inner, inner).map(lambda two: pa.StructArray.from_arrays(_even(two), ["a", "b"])),
        st.tuples(inner, inner).map(lambda two: pa.UnionArray.from_sparse(HALVES[: len(_even(two)[0])], _even(two))),
        inner.map(lambda one: pa.ListArray.from_arrays(EACH[: len(one) + 1], one)),
        inner.map(lambda one: pa.LargeListArray.from_arrays(EACH[: len(one) + 1].cast(pa.int64()), one)),
        inner.map(lambda one: pa.ListViewArray.from_arrays(NUMBERS[: len(one)], ONES[: len(one)], one)),
        inner.map(lambda one: pa.FixedSizeListArray.from_arrays(one, 1)),
        inner.map(lambda one: pa.MapArray.from_arrays(EACH[: len(one) + 1], WORDS[: len(one)], one)),
        inner.map(lambda one: pa.RunEndEncodedArray.from_arrays(EACH[1 : len(one) + 1], one)),
    )


def _even(arrays: tuple[pa.Array, ...]) -> list[pa.Array]:
    rows = min(map(len, arrays))
    return [array[:rows] for array in arrays]


leaves = st.sampled_from([*COLUMNS.values(), *UNIONS.values(), METRES])
columns = st.recursive(
    leaves.flatmap(lambda array: st.integers(0, 40).flatmap(lambda rows: slices_of(array, rows))), nested, max_leaves=4
)
metadata = st.none() | st.dictionaries(st.binary(max_size=3), st.binary(max_size=3), min_size=1, max_size=2)


@st.composite
def batches(draw: st.DrawFn) -> pa.RecordBatch:
    arrays = draw(st.lists(columns, max_size=3))
    arrays = _even(tuple(arrays)) if arrays else []
    fields = [pa.field(draw(st.text(max_size=3)), array.type, draw(st.booleans()), draw(metadata)) for array in arrays]
    batch = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, draw(metadata)))
    return batch.slice(draw(st.integers(0, batch.num_rows)))


@settings(deadline=None, max_examples=150)
@given(batches(), st.booleans(), st.data())
def test_rows_come_back_with_their_schema(batch, as_table, data):
    cuts = [batch, batch.slice(data.draw(st.integers(0, batch.num_rows)))]
    rows = pa.Table.from_batches(cuts[: data.draw(st.integers(0, 2))], batch.schema) if as_table else batch
    coder = registry.get_coder(type(rows))
    back = coder.decode(coder.encode(rows))
    back.validate(full=True)
    assert type(back) is type(rows)
    assert back.schema.equals(rows.schema, check_metadata=True)
    assert back.equals(rows)
    assert coder.estimate_size(rows) >= 0


@pytest.mark.parametrize("name", ["numbers", "decimals", "text", "text_view", "binary_view", "runs", "list", "uuid"])
def test_a_slice_is_encoded_without_the_rows_around_it(name):
    batch = pa.RecordBatch.from_arrays([COLUMNS[name]], [name])
    for part in (batch.slice(100, 3), pa.Table.from_batches([batch.slice(100, 2), batch.slice(300, 1)])):
        assert len(ArrowCoder(type(part)).encode(part)) < 800 < len(pickle.dumps(part)) / 3


@pytest.mark.parametrize("column", [METRES, LONG], ids=["unregistered", "more than IPC can hold"])
def test_what_ipc_cannot_hold_is_pickled_as_it_is(column):
    part = pa.record_batch({"x": column}).slice(100)
    coder = ArrowCoder(pa.RecordBatch)
    assert own_rows(part) is part
    assert coder.decode(coder.encode(part)).equals(part)


def test_elements_of_another_type_than_declared_are_pickled():
    coder = registry.get_coder(pa.RecordBatch)
    assert coder.decode(coder.encode({"id": 1})) == {"id": 1}
    assert coder.estimate_size({"id": 1}) > 0


def test_a_coder_that_someone_else_registered_stays():
    registry.register_coder(pa.Table, PickleCoder)
    try:
        register_arrow_coder()
        assert isinstance(registry.get_coder(pa.Table), PickleCoder)
        assert isinstance(registry.get_coder(pa.RecordBatch), ArrowCoder)
    finally:
        registry.register_coder(pa.Table, ArrowCoder)


@pytest.mark.parametrize("kind", [pa.RecordBatch, pa.Table, FailedRows])
def test_coders_travel_with_the_pipeline(kind):
    """Notebooks, among others, make a pipeline anew from its portable form, and ask coders for types."""
    coder = registry.get_coder(kind)
    assert pickler.loads(pickler.dumps(coder)) == coder
    assert coder.to_type_hint() is kind
    assert not coder.is_deterministic()
    pipeline = beam.Pipeline()
    _ = pipeline | beam.Create([0]) | beam.Map(str).with_output_types(kind) | beam.Map(repr)
    assert beam.Pipeline.from_runner_api(pipeline.to_runner_api(), pipeline.runner, PipelineOptions()).to_runner_api()


@pytest.mark.parametrize("kind", ["RecordBatch", "Table"])
def test_a_table_in_slices_is_one_table_in_the_pipeline(kind):
    table = pa.table({"id": np.random.default_rng(1).integers(0, 2**62, 10_000)})
    parts: list[Any] = [table.slice(start, 100) for start in range(0, table.num_rows, 100)]
    if kind == "RecordBatch":
        parts = [part.to_batches()[0] for part in parts]
    pipeline = beam.Pipeline()
    _ = pipeline | beam.Create(parts) | WriteToZerobus("main.iot.air", schema="id BIGINT", dry_run=True)
    assert len(pipeline.to_runner_api().SerializeToString()) < 6 * table.nbytes  # forty times without the coder


@pytest.mark.parametrize("across_bundles", [False, True])
@pytest.mark.parametrize("kind", ["RecordBatch", "Table"])
def test_slices_arrive_through_a_shuffle(emulator, sink, run, kind, across_bundles):
    arrived = emulator.create_table("main.iot.air", "id INT NOT NULL, name STRING")
    table = pa.table({"id": NUMBERS, "name": VIEW})
    parts: list[Any] = [table.slice(start, 50) for start in range(0, COUNT, 50)]
    if kind == "RecordBatch":
        parts = [part.to_batches()[0] for part in parts]
    batching = Batching(across_bundles=across_bundles)

    def build(pipeline: beam.Pipeline) -> None:
        result = pipeline | beam.Create(parts) | beam.Reshuffle() | sink(batching=batching, on_bad_rows="dead_letter")
        assert_that(result.failed_rows, equal_to([]))

    run(build)
    assert arrived.to_arrow().sort_by("id").to_pylist() == table.to_pylist()
