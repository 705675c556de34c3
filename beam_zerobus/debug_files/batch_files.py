"""The debug files of one writer while they are written: each batch goes to the current files, full files rotate."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence

import pyarrow as pa

from beam_zerobus.debug_files.arrow_file import ArrowFile
from beam_zerobus.debug_files.folders import DESCRIPTOR, REJECTS
from beam_zerobus.errors import RowError
from beam_zerobus.rotated_files.file_set import FileSet
from beam_zerobus.rotated_files.growing import ByteFile
from beam_zerobus.rotated_files.layout import Folder
from beam_zerobus.rotated_files.local import create_private, open_private, write_all
from beam_zerobus.rotated_files.names import Rotation

__all__ = ["BatchFiles"]

_REMEMBERED_FILES = 1_000  # the latest files, whose rows can still be marked as rejected


class BatchFiles:
    """Writes batches to the current files; not thread-safe.

    Both formats rotate together, so two files with the same stem always hold the same batches.

    Args:
        files: The files of this writer.
        folders: The folders of the Arrow and of the protobuf files.
        descriptor_set: The content of the descriptor set beside each protobuf file, until `describe` gives another.
        max_file_bytes: A file is rotated before a batch would make it larger.

    Invariants:
        `_appended` counts the batches. `_starts` holds for each remembered file the number of its first batch and its
        rotation; the last is the current file, with rotation None.
    """

    def __init__(
        self, files: FileSet, folders: tuple[Folder, Folder], *, descriptor_set: bytes, max_file_bytes: int
    ) -> None:
        self._files = files
        self._arrow_folder, self._proto_folder = folders
        self._descriptor_set = descriptor_set
        self._max_file_bytes = max_file_bytes
        self._arrow: ArrowFile | None = None
        self._proto: ByteFile | None = None
        self._appended = 0
        self._starts: list[tuple[int, Rotation | None]] = [(0, None)]

    def describe(self, descriptor_set: bytes) -> None:
        """Say how the protobuf rows that follow are decoded; files that hold others are rotated.

        Raises:
            OSError: A file cannot be written any more, or is gone.
        """
        if descriptor_set != self._descriptor_set:
            if self._proto is not None:
                self._rotate()
            self._descriptor_set = descriptor_set

    def append(self, rows: pa.RecordBatch | pa.Table, framed: Sequence[bytes | memoryview]) -> int:
        """Add a batch, and its protobuf rows as `frame` returns them, to every format; return the bytes written.

        Raises:
            OSError: A file cannot be written any more, or is gone.
        """
        batch = _as_one_batch(rows) if self._arrow_folder.is_written else None
        framed_bytes = sum(map(len, framed))
        while (written := self._append_to_current(batch, framed, framed_bytes)) is None:
            self._rotate()
        self._appended += 1
        return written

    def reject(self, batch_number: int, errors: Sequence[RowError]) -> int:
        """Mark rows of a batch as rejected; return the bytes written.

        Args:
            batch_number: Which of the appended batches, from 0.
            errors: The rows, each with its reason.

        Raises:
            OSError: The marks cannot be written.
        """
        place = bisect_right(self._starts, batch_number, key=lambda start: start[0]) - 1
        if place < 0:
            return 0
        start, rotation = self._starts[place]
        folder = self._arrow_folder if self._arrow_folder.is_written else self._proto_folder
        if self._files.was_removed(folder, rotation):
            return 0
        layout = self._files.layout
        lines = "".join(
            json.dumps(
                {
                    "file": layout.path(folder, folder.suffix, rotation).name,
                    "batch": batch_number - start,
                    "row": error.index,
                    "reason": error.message,
                    "error_type": error.error_type,
                    "stage": error.stage,
                }
            )
            + "\n"
            for error in errors
        ).encode()
        with open_private(layout.path(folder, REJECTS, rotation), "ab") as file:
            write_all(file, lines)
        return len(lines)

    def check_in_place(self) -> None:
        """Check that nobody removed or replaced the current files.

        Raises:
            OSError: Somebody did.
        """
        self._files.check_in_place()

    def close(self) -> None:
        """Close the current files.

        Raises:
            OSError: A file is gone, or its end cannot be written.
        """
        self._arrow = self._proto = None
        self._files.close()

    def _append_to_current(
        self, batch: pa.RecordBatch | None, framed: Sequence[bytes | memoryview], framed_bytes: int
    ) -> int | None:
        """Return the bytes written; None, and nothing is written, if the files are full. New files take any batch."""
        written = 0
        if self._proto is not None and self._proto.size + framed_bytes > self._max_file_bytes:
            return None
        if batch is not None:
            self._arrow = self._arrow or self._open_arrow(batch.schema)
            added = self._arrow.append(batch, self._max_file_bytes)
            if added is None:
                return None
            written += added
        if self._proto_folder.is_written:
            self._proto = self._proto or self._open_proto()
            self._proto.append(framed)
            written += framed_bytes
        return written

    def _open_arrow(self, schema: pa.Schema) -> ArrowFile:
        folder = self._arrow_folder
        return self._files.add(ArrowFile(self._files.layout.path(folder, folder.suffix), schema))

    def _open_proto(self) -> ByteFile:
        layout, folder = self._files.layout, self._proto_folder
        descriptor_set = layout.path(folder, DESCRIPTOR)
        descriptor_set.unlink(missing_ok=True)
        with create_private(descriptor_set) as file:
            write_all(file, self._descriptor_set)
        return self._files.add(ByteFile(layout.path(folder, folder.suffix)))

    def _rotate(self) -> None:
        self._arrow = self._proto = None
        rotation = self._files.rotate()
        self._starts[-1:] = [(self._starts[-1][0], rotation), (self._appended, None)]
        del self._starts[:-_REMEMBERED_FILES]


def _as_one_batch(rows: pa.RecordBatch | pa.Table) -> pa.RecordBatch:
    return pa.concat_batches(rows.to_batches()) if isinstance(rows, pa.Table) else rows
