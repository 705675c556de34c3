"""The files of one base while they are written: open, full, put aside."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa

from beam_zerobus.debug_files.formats import ArrowFile, ProtoFile
from beam_zerobus.debug_files.layout import Layout
from beam_zerobus.debug_files.local import create_private, write_all
from beam_zerobus.debug_files.names import ARROW, DESCRIPTOR, PROTO, REJECTS, Rotation
from beam_zerobus.errors import RowError
from beam_zerobus.options import DebugFiles

__all__ = ["FileSet"]

_REMEMBERED_FILES = 1_000  # so many files, the latest, still take marks of rejected rows


class FileSet:
    """Writes the files of one base; not thread-safe.

    Both formats rotate together and then share a stem, so that two files of one stem always hold the same batches.
    A current file that is found, from an earlier writer that ended or died, is put aside first.

    Attributes:
        last_rotation: When files of this base were last put aside.

    Invariants:
        `_appended` counts the batches. `_files` holds for each remembered file the count at which it began and its
        rotation; the last is the current file, with rotation None.
    """

    def __init__(
        self,
        layout: Layout,
        options: DebugFiles,
        *,
        descriptor_set: bytes,
        clock: Callable[[], float],
        last_rotation: Rotation | None = None,
        on_rotated: Callable[[], None] = lambda: None,
    ) -> None:
        self._layout = layout
        self._descriptor_set = descriptor_set
        self._max_file_bytes = options.max_file_bytes
        self._may_be_removed = options.max_files_retained is not None
        self._clock = clock
        self._on_rotated = on_rotated
        self._arrow: ArrowFile | None = None
        self._proto: ProtoFile | None = None
        self._appended = 0
        self._files: list[tuple[int, Rotation | None]] = [(0, None)]
        known = (layout.last_rotation(), last_rotation)
        self.last_rotation = max((rotation for rotation in known if rotation is not None), default=None)
        if layout.has_current():
            self._put_aside()

    def append(self, rows: pa.RecordBatch | pa.Table, framed: Sequence[bytes | memoryview]) -> int:
        """Add a batch, and its protobuf rows as `frame` has them, to every format; return the bytes written.

        Raises:
            OSError: A file cannot be written any more, or is gone.
        """
        batch = _as_one_batch(rows) if self._layout.arrow else None
        framed_bytes = sum(map(len, framed))
        while (written := self._append_to_current(batch, framed, framed_bytes)) is None:
            self._rotate()
        self._appended += 1
        return written

    def reject(self, ordinal: int, errors: Sequence[RowError]) -> int:
        """Mark rows of the batch that was the `ordinal`-th to be appended, from 0; return the bytes written."""
        place = bisect_right(self._files, ordinal, key=lambda file: file[0]) - 1
        if place < 0:
            return 0
        start, rotation = self._files[place]
        data = self._layout.path(ARROW if self._layout.arrow else PROTO, rotation)
        if rotation is not None and self._may_be_removed and not data.exists():
            return 0
        lines = "".join(
            json.dumps(
                {
                    "file": data.name,
                    "batch": ordinal - start,
                    "row": error.index,
                    "reason": error.message,
                    "error_type": error.error_type,
                    "stage": error.stage,
                }
            )
            + "\n"
            for error in errors
        ).encode()
        with create_private(self._layout.path(REJECTS, rotation), "ab") as file:
            write_all(file, lines)
        return len(lines)

    def current(self) -> list[tuple[Path, int]]:
        """Return the open files, each with the size up to which it holds whole batches."""
        return [(file.path, file.size) for file in (self._arrow, self._proto) if file is not None]

    def check_in_place(self) -> None:
        """Find out whether somebody removed the open files: nobody would ever read what is written to them.

        Raises:
            OSError: One is gone, or was replaced.
        """
        for file in (self._arrow, self._proto):
            if file is not None:
                file.check_in_place()

    def close(self) -> None:
        """Close the open files; the next append opens new ones.

        Raises:
            OSError: A file that was written is gone, or its end cannot be written.
        """
        with ExitStack() as closing:
            for file in (self._arrow, self._proto):
                if file is not None:
                    closing.callback(file.close)
                    closing.callback(file.check_in_place)
            self._arrow = self._proto = None

    def _append_to_current(
        self, batch: pa.RecordBatch | None, framed: Sequence[bytes | memoryview], framed_bytes: int
    ) -> int | None:
        """Return the bytes written; None, and nothing is written, where the files are full. New ones take any batch."""
        written = 0
        if self._proto is not None and self._proto.size + framed_bytes > self._max_file_bytes:
            return None
        if batch is not None:
            self._arrow = self._arrow or ArrowFile(self._layout.path(ARROW), batch.schema)
            added = self._arrow.append(batch, self._max_file_bytes)
            if added is None:
                return None
            written += added
        if self._layout.proto:
            self._proto = self._proto or self._open_proto()
            self._proto.append(framed)
            written += framed_bytes
        return written

    def _open_proto(self) -> ProtoFile:
        descriptor_set = self._layout.path(DESCRIPTOR)
        descriptor_set.unlink(missing_ok=True)
        with create_private(descriptor_set) as file:
            write_all(file, self._descriptor_set)
        return ProtoFile(self._layout.path(PROTO))

    def _rotate(self) -> None:
        self.close()
        self._put_aside()
        self._files[-1:] = [(self._files[-1][0], self.last_rotation), (self._appended, None)]
        del self._files[:-_REMEMBERED_FILES]
        self._on_rotated()

    def _put_aside(self) -> None:
        self.last_rotation = Rotation.following(self.last_rotation, self._clock())
        self._layout.put_aside(self.last_rotation)


def _as_one_batch(rows: pa.RecordBatch | pa.Table) -> pa.RecordBatch:
    return pa.concat_batches(rows.to_batches()) if isinstance(rows, pa.Table) else rows
