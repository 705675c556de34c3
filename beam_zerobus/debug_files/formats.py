"""The two formats, each a file that grows by whole batches: `ArrowFile` and `ProtoFile`.

Every append ends in the operating system: what was appended outlives the process, killed or not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from beam_zerobus.debug_files.local import create_private, write_all

__all__ = ["ArrowFile", "ProtoFile"]

_END_OF_STREAM = 8


class _GrowingFile:
    """What both formats share: where the file is, how large, and that it is still there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        create_private(path).close()
        self._identity = path.stat()

    def check_in_place(self) -> None:
        """Raise FileNotFoundError where somebody removed or replaced the file: nobody would ever read it."""
        if not os.path.samestat(self.path.stat(), self._identity):
            raise FileNotFoundError(f"{self.path} was replaced while it was written")


class ArrowFile(_GrowingFile):
    """An Arrow IPC stream.

    Every call of Arrow's gives up the interpreter's lock, so there are as few as can be.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(path)
        self._schema = schema
        self._batches = 0
        self._has_dictionaries = any(_holds_dictionary(field.type) for field in schema)
        # Not "wb": ext4 takes a file that was truncated for a new version of an old one, and begins to write all of it
        # to the disk as soon as it is closed.
        self._sink = pa.OSFile(str(path), "ab")
        self._stream = pa.ipc.new_stream(self._sink, schema)  # writes the schema with the first batch

    def append(self, batch: pa.RecordBatch, most: int) -> int | None:
        """Add a batch and return the bytes that took.

        Args:
            batch: A batch of any schema.
            most: What the file may measure, closed; the first batch may pass it.

        Returns:
            None, and nothing is written, where the batch has no room or another schema.
        """
        size = self._measure(batch)
        if self._batches and (self.size + size + _END_OF_STREAM > most or not batch.schema.equals(self._schema)):
            return None
        before = self.size
        self._stream.write_batch(batch)
        self._batches += 1
        self.size = self._sink.tell()
        return self.size - before

    def _measure(self, batch: pa.RecordBatch) -> int:
        """Return the bytes of a batch; with dictionaries at most some of these too many."""
        if not self._has_dictionaries:
            return int(pa.ipc.get_record_batch_size(batch))
        dry_run = pa.MockOutputStream()
        with pa.ipc.new_stream(dry_run, batch.schema) as stream:
            stream.write_batch(batch)
        return int(dry_run.size())

    def close(self) -> None:
        """End the stream."""
        try:
            self._stream.close()
        finally:
            self._sink.close()


class ProtoFile(_GrowingFile):
    """One protobuf message that holds every row."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = create_private(path, "ab")

    def append(self, framed: Sequence[bytes | memoryview]) -> None:
        """Add framed records."""
        for part in framed:
            write_all(self._file, part)
            self.size += len(part)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _holds_dictionary(data_type: pa.DataType) -> bool:
    if isinstance(data_type, pa.BaseExtensionType):
        return _holds_dictionary(data_type.storage_type)
    if pa.types.is_dictionary(data_type):
        return True
    return any(_holds_dictionary(data_type.field(i).type) for i in range(data_type.num_fields))
