"""The file of RecordBatches: an Arrow IPC stream that grows by whole batches."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa

from beam_zerobus.rotated_files.growing import GrowingFile

__all__ = ["ArrowFile"]

_END_OF_STREAM_BYTES = 8


class ArrowFile(GrowingFile):
    """An Arrow IPC stream.

    Each call into Arrow releases the interpreter's lock, and then other threads run first: so there are few calls.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(path)
        self._schema = schema
        self._batches = 0
        self._has_dictionaries = any(_holds_dictionary(field.type) for field in schema)
        # Arrow opens files by path only. /dev/fd/N is the file that we have open, whatever `path` is by now; Windows
        # has no such name. Not "wb": ext4 takes a truncated file for the new version of an old one, and at its close
        # begins to write all of it to the disk.
        opened = Path(f"/dev/fd/{self._file.fileno()}")
        has_name = sys.platform != "win32" and opened.exists()
        self._sink = pa.OSFile(str(opened if has_name else path), "ab")
        self._stream = pa.ipc.new_stream(self._sink, schema)  # writes the schema with the first batch

    def append(self, batch: pa.RecordBatch, max_bytes: int) -> int | None:
        """Add a batch and return the bytes written.

        Args:
            batch: A batch of any schema.
            max_bytes: The largest size of the closed file; the first batch may exceed it.

        Returns:
            None, and nothing is written, if the batch does not fit or has another schema.
        """
        size = self._measure(batch)
        is_too_large = self.size + size + _END_OF_STREAM_BYTES > max_bytes
        if self._batches and (is_too_large or not batch.schema.equals(self._schema)):
            return None
        before = self.size
        self._stream.write_batch(batch)
        self._batches += 1
        self.size = self._sink.tell()
        return self.size - before

    def close(self) -> None:
        """End the stream."""
        try:
            self._stream.close()
        finally:
            self._sink.close()
            super().close()

    def _measure(self, batch: pa.RecordBatch) -> int:
        """Return the bytes of a batch; with dictionaries it may be too many, as some are in the file already."""
        if not self._has_dictionaries:
            return int(pa.ipc.get_record_batch_size(batch))
        dry_run = pa.MockOutputStream()
        with pa.ipc.new_stream(dry_run, batch.schema) as stream:
            stream.write_batch(batch)
        return int(dry_run.size())


def _holds_dictionary(data_type: pa.DataType) -> bool:
    if isinstance(data_type, pa.BaseExtensionType):
        return _holds_dictionary(data_type.storage_type)
    if pa.types.is_dictionary(data_type):
        return True
    return any(_holds_dictionary(data_type.field(i).type) for i in range(data_type.num_fields))
