"""`Landing`: Parquet files beside a Delta table, of rows that are not in it yet, or that no longer fit it."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from beam_zerobus.emulator.tables.storage import NotOurTableError, described, recover
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema import TableSchema

__all__ = ["REJECTED_FOLDER", "Landed", "Landing"]

REJECTED_FOLDER = "_zerobus/table_rejected_parquets"
"""The service's folder, inside the table's, of acknowledged rows that no longer fit the table."""
_LANDED_FOLDER = "_zerobus/landed"


@dataclass(frozen=True, slots=True)
class Landed:
    """A file of rows that were acknowledged and are not in the table yet.

    Attributes:
        number: Its place in the order of arrival, from 1.
        path: The file.
    """

    number: int
    path: Path

    def age(self) -> float:
        """Return the seconds since its rows became durable."""
        return time.time() - self.path.stat().st_mtime

    def schema(self) -> TableSchema:
        """Return the table's columns when the rows arrived."""
        with _naming(self.path):
            return recover(field.metadata for field in pq.read_schema(self.path))

    def read(self) -> pa.Table:
        """Return the rows."""
        return _rows(self.path)


class Landing:
    """The files beside one table; used by one thread at a time.

    Delta ignores folders whose names begin with an underscore. A file is written under another name and renamed, so a
    kill leaves it whole or not at all.

    Args:
        table: The Delta table's directory.
        done: The highest number whose rows are in the table; files up to it are left from a kill, and removed.
    """

    def __init__(self, table: Path, done: int) -> None:
        self._folder = table / _LANDED_FOLDER
        self._rejected = table / REJECTED_FOLDER
        self._waiting: list[Landed] = []
        if self._folder.exists():
            for path in sorted(self._folder.iterdir()):
                if path.suffix == ".parquet" and path.stem.isdecimal() and int(path.stem) > done:
                    self._waiting.append(Landed(int(path.stem), path))
                else:
                    path.unlink()
        self._last = max([done, *(file.number for file in self._waiting)])

    def land(self, batches: Sequence[pa.RecordBatch], schema: TableSchema) -> None:
        """Make rows durable that the table gets later."""
        self._last += 1
        path = self._folder / f"{self._last:012}.parquet"
        _write(path, batches, schema)
        self._waiting.append(Landed(self._last, path))

    def reject(self, batches: Sequence[pa.RecordBatch], schema: TableSchema) -> None:
        """Make rows durable in the folder of those that no longer fit the table."""
        _write(self._rejected / _rejected_name(), batches, schema)

    def due(self, seconds: float) -> list[Landed]:
        """Return the files whose rows became durable so many seconds ago, in the order of arrival."""
        return [file for file in self._waiting if file.age() >= seconds]

    def next_due(self, seconds: float) -> float | None:
        """Return the seconds until a file is due; None if no file waits."""
        return max(0.0, seconds - self._waiting[0].age()) if self._waiting else None

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass for the files that wait."""
        for file in self._waiting:
            now = file.path.stat()
            os.utime(file.path, (now.st_atime, now.st_mtime - seconds))

    def give_up(self, file: Landed) -> None:
        """Move a file to the folder of rows that no longer fit the table."""
        self._rejected.mkdir(parents=True, exist_ok=True)
        file.path.rename(self._rejected / _rejected_name())
        self._waiting.remove(file)

    def remove(self, files: Sequence[Landed]) -> None:
        """Remove files whose rows are in the table."""
        for file in files:
            file.path.unlink()
            self._waiting.remove(file)

    def rejected(self) -> Iterator[pa.Table]:
        """Yield the rows of each file in the folder of rows that no longer fit the table."""
        for path in sorted(self._rejected.glob("*.parquet")):
            yield _rows(path)


def _rows(path: Path) -> pa.Table:
    with _naming(path):
        return pq.read_table(path)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name a file that cannot be read, or is damaged, as after a power cut."""
    try:
        yield
    except (pa.ArrowException, NotOurTableError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system: what is in the file is not known
            why = os.strerror(error.errno)
            raise ConfigurationError(f"the file {path} cannot be read ({why}): make it readable") from None
        raise ConfigurationError(
            f"the file {path} is damaged: remove it; the rows in it, which were acknowledged, are lost"
        ) from None


def _write(path: Path, batches: Sequence[pa.RecordBatch], schema: TableSchema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    canonical = schema.to_canonical_arrow()
    pq.write_table(pa.Table.from_batches(batches, canonical).cast(described(schema)), unfinished)
    unfinished.rename(path)


def _rejected_name() -> str:
    return f"{time.time_ns():020}-{uuid.uuid4().hex[:8]}.parquet"
