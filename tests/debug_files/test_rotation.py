"""Rotation under any sizes, limits, clocks, restarts and retention."""

import tempfile
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus import DebugFiles
from beam_zerobus.debug_files import DebugFileWriter, read_arrow, read_proto
from beam_zerobus.debug_files.folders import SUFFIXES
from beam_zerobus.debug_files.framing import frame
from beam_zerobus.rotated_files.names import Name

from .samples import AIR, AIR_ENCODER, TABLE, air, encode

BATCHES = [air(start, rows) for start, rows in ((0, 1), (10, 5), (20, 40), (100, 300))]
RECORDS = [encode(batch) for batch in BATCHES]


@settings(deadline=None, max_examples=60)
@given(
    runs=st.lists(st.lists(st.integers(0, len(BATCHES) - 1), max_size=12), min_size=1, max_size=3),
    max_file_bytes=st.integers(1, 60_000),
    retained=st.none() | st.integers(0, 4),
    clock=st.lists(st.floats(-1e6, 4e9), min_size=1, max_size=5),
)
def test_nothing_is_lost_or_cut_and_names_sort_in_time(
    runs: list[list[int]], max_file_bytes: int, retained: int | None, clock: list[float]
) -> None:
    ticks = iter(clock * 1000)
    options = {"max_file_bytes": max_file_bytes, "max_files_retained": retained}
    with tempfile.TemporaryDirectory() as directory:
        for run in runs:
            writer = DebugFileWriter(
                DebugFiles(output_dir=directory, **options),
                table=TABLE,
                descriptor=AIR_ENCODER.descriptor,
                schema=AIR,
                clock=lambda: next(ticks),
            )
            for kind in run:
                writer.write(BATCHES[kind], frame(RECORDS[kind]))
            writer.close()
            assert not writer.failed
        written = [kind for run in runs for kind in run]
        files = sorted((Path(directory) / "zerobus" / "arrow").glob("*.arrow"))
        read = [list(read_arrow(path, rotated=False)) for path in files]
        batches = [batch for file in read for batch in file]
        if retained is None:
            assert len(batches) == len(written)
        else:
            assert sum(Name.parse(path.name, SUFFIXES).rotation is not None for path in files) <= retained
        # In the order of their names, what is left are the last batches, whole.
        assert batches == [BATCHES[kind] for kind in written[len(written) - len(batches) :]]
        if batches:
            assert list(read_arrow(directory)) == batches
            assert pa.Table.from_batches(read_proto(directory)).equals(
                pa.Table.from_batches(batches).cast(pa.Table.from_batches(read_proto(directory)).schema)
            )
        for path, held in zip(files, read, strict=True):
            assert path.stat().st_size <= max_file_bytes or len(held) == 1
            proto = path.parents[1] / "proto" / path.with_suffix(".proto").name
            assert proto.read_bytes() == b"".join(frame(encode(batch)) for batch in held)
            assert proto.with_suffix(".proto.desc").exists()
