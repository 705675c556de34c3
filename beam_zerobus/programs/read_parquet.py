"""Parquet files: row groups as Arrow tables, with their place in the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from pyarrow import parquet

from beam_zerobus.errors import counted
from beam_zerobus.programs.command import InputError
from beam_zerobus.programs.open_files import naming, opened
from beam_zerobus.sink.rows_of_file import RowsOfFile

__all__ = ["FindRowGroups", "ReadRowGroups", "RowGroups"]

_BYTES_AT_ONCE = 64 << 20


@dataclass(frozen=True, slots=True)
class RowGroups:
    """Consecutive row groups of a file, from `start` to before `stop`."""

    path: str
    start: int
    stop: int


class FindRowGroups(beam.DoFn):
    """Divides the row groups of a file into ranges that workers can read side by side."""

    def process(self, file: FileMetadata) -> Iterator[RowGroups]:
        """Read the footer of one file.

        Raises:
            InputError: The file cannot be read.
        """
        with naming(file.path), _opened(file.path) as source:
            metadata = source.metadata
            start, nbytes = 0, 0
            for group in range(metadata.num_row_groups):
                nbytes += metadata.row_group(group).total_byte_size
                if nbytes >= _BYTES_AT_ONCE:
                    yield RowGroups(file.path, start, group + 1)
                    start, nbytes = group + 1, 0
            if start < metadata.num_row_groups:
                yield RowGroups(file.path, start, metadata.num_row_groups)


class ReadRowGroups(beam.DoFn):
    """Reads row groups, each as a Table."""

    def process(self, groups: RowGroups) -> Iterator[RowsOfFile]:
        """Read a range of row groups.

        Raises:
            InputError: A row group cannot be read, or does not have the number of rows that the file says.
        """
        group = groups.start
        with naming(groups.path, lambda: f"at row group {group}") as name, _opened(groups.path) as source:
            for group in range(groups.start, groups.stop):
                rows = source.read_row_group(group, use_threads=False)
                expected = source.metadata.row_group(group).num_rows
                if rows.num_rows != expected:
                    raise InputError(
                        f"{name}, row group {group} has {counted(rows.num_rows, 'row')}, its footer says "
                        f"{expected}: the file is damaged; replace it"
                    )
                if rows.num_rows:
                    place = f"{name}, row group {group}"
                    yield RowsOfFile(rows, place, "row", range(rows.num_rows))


@contextmanager
def _opened(path: str) -> Iterator[parquet.ParquetFile]:
    with opened(path) as file:
        compressed = CompressionTypes.detect_compression_type(path) != CompressionTypes.UNCOMPRESSED
        # The footer is at the end, and a compressed file can only be read from its start.
        source_file = pa.BufferReader(file.read()) if compressed else file
        with parquet.ParquetFile(source_file, page_checksum_verification=True) as source:
            yield source
