"""`DeadLetters`: failed rows on disk, exactly as they were sent, each with its reason."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from beam_zerobus.errors import counted
from beam_zerobus.logs import get_logger, outline
from beam_zerobus.rotated_files.local import make_private_directories
from beam_zerobus.rotated_files.paths import as_local_path
from beam_zerobus.writer.result import TransmissionResult

__all__ = ["DeadLetters"]

_log = get_logger(__name__)
_REASON = pa.struct(
    [("index", pa.int64()), ("error_type", pa.string()), ("message", pa.string()), ("stage", pa.string())]
)


class DeadLetters:
    """Keeps the failed rows of each batch as an Arrow file.

    The file ``{directory}/{table}/{UTC stamp}-{process}-{number}.arrow`` has the batch's columns and one more,
    ``_reason``. It is complete or not there at all. A failure to write is only logged: the client has the same rows in
    its results. As with debug files, new directories are open to the user of this process alone, since they hold rows;
    a directory that exists is left as it is.

    Args:
        directory: The local directory; None keeps nothing.
    """

    def __init__(self, directory: str | None) -> None:
        self._directory = None if directory is None else as_local_path(directory).absolute()
        self._numbers = itertools.count()

    def keep(self, table: str, batch: pa.RecordBatch, result: TransmissionResult) -> None:
        """Write the rows of a batch that failed."""
        if self._directory is None or not result.failed_rows:
            return
        try:
            directory = make_private_directories(self._directory, quote(table, safe=""))
            self._write(directory, _with_reasons(batch, result))
        except Exception as error:  # noqa: BLE001  the client's result does not depend on it
            rows = counted(result.failed_count, "failed row")
            _log.error("%s of %s not kept in %s: %s", rows, table, self._directory, outline(error))

    def _write(self, directory: Path, rows: pa.RecordBatch) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = directory / f"{stamp}-{os.getpid()}-{next(self._numbers):06}.arrow"
        unfinished = path.with_suffix(".tmp")
        try:
            with pa.OSFile(str(unfinished), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
                writer.write_batch(rows)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def _with_reasons(batch: pa.RecordBatch, result: TransmissionResult) -> pa.RecordBatch:
    failed = result.failed_batch(batch)
    reasons = [
        {"index": row.index, "error_type": row.error_type, "message": row.message, "stage": row.stage}
        for row in result.failed_rows
    ]
    return pa.RecordBatch.from_arrays(
        [*failed.columns, pa.array(reasons, _REASON)], schema=failed.schema.append(pa.field("_reason", _REASON))
    )
