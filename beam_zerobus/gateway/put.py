"""`PutCall`: one call of a client that writes to one table."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import flight

from beam_zerobus.gateway.dead_letters import DeadLetters
from beam_zerobus.gateway.results import Failure, failure_of, result_json
from beam_zerobus.gateway.settings import GatewaySettings
from beam_zerobus.gateway.waiting import Waiting
from beam_zerobus.logs import get_logger, outline
from beam_zerobus.writer.submission import Submission
from beam_zerobus.writer.zerobus_writer import ZerobusWriter

__all__ = ["PutCall", "check_memory"]

_log = get_logger(__name__)
_STOPPING = Failure("UNAVAILABLE", "The gateway is stopping: send the batches without a result again, to the next one")
_CLIENT_GONE = Failure("UNAVAILABLE", "The client is gone")
_BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}


class PutCall:
    """Writes the batches of a client and answers each, in their order.

    Two threads: `run`, in the thread of the call, reads and submits; `_answer` waits for outcomes and writes results.
    `_waiting` between them holds what has no result yet, in order; a failure may be the last, and None is the end.
    While it is full nothing is read, so the client has to wait.

    Invariant: only `_answer` sets `_failure`, once; no batch is submitted and no result is written after it.

    Args:
        writer: Writes to the table.
        reader: The client's batches.
        results: Where results go.
        settings: The gateway's limits.
        dead_letters: Keeps the rows that failed.
        stopping: Whether the gateway accepts nothing new.
    """

    def __init__(
        self,
        writer: ZerobusWriter,
        reader: Any,
        results: Any,
        *,
        settings: GatewaySettings,
        dead_letters: DeadLetters,
        stopping: Callable[[], bool],
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._results = results
        self._max_message_bytes = settings.max_message_bytes
        self._dead_letters = dead_letters
        self._stopping = stopping
        self._waiting: Waiting[Submission | Failure | None] = Waiting(
            max_items=settings.max_batches_in_flight, max_bytes=settings.max_bytes_in_flight
        )
        self._failure: Failure | None = None

    def run(self) -> None:
        """Write until the client has sent everything, and every batch has its result.

        Raises:
            flight.FlightError: The call failed; batches without a result may or may not be in the table.
            pa.ArrowException: The same, for a missing table or batches that are not valid.
        """
        answering = threading.Thread(target=self._answer, name=f"gateway-{self._writer.table}", daemon=True)
        answering.start()
        try:
            while (accepted := self._next()) is not None:
                self._waiting.put(accepted, accepted.arrow_bytes if isinstance(accepted, Submission) else 0)
                if isinstance(accepted, Failure):
                    break
        finally:
            self._waiting.put(None)
            answering.join()
        if self._failure is not None:
            raise self._failure.as_error()

    def _next(self) -> Submission | Failure | None:
        """Read and submit a batch; None at the end of the client's stream, and after a failure."""
        if self._failure is not None:
            return None
        try:
            batch = self._reader.read_chunk().data
        except StopIteration:
            return None
        except (pa.ArrowException, flight.FlightError, OSError) as error:
            return Failure("INVALID_ARGUMENT", f"A message is not a valid RecordBatch: {error}")
        return None if self._failure is not None else self._submitted(batch)  # which perhaps was set during the read

    def _submitted(self, batch: pa.RecordBatch | None) -> Submission | Failure:
        if self._stopping():
            return _STOPPING
        if (fault := _fault_of(batch, self._max_message_bytes)) is not None:
            return Failure("INVALID_ARGUMENT", fault)
        try:
            return self._writer.submit(batch)
        except Exception as error:  # noqa: BLE001  each batch gets an answer
            return self._failed(error)

    def _answer(self) -> None:
        """Write the result of each batch, until one fails as a whole: then the failure, and nothing after it."""
        number = 0
        while (item := self._waiting.get()) is not None:
            if self._failure is None:
                self._answer_one(number, item)
                number += 1
            elif isinstance(item, Submission) and self._failure is not _CLIENT_GONE:
                item.asked = True  # the client learns from the failure that this batch has no result

    def _answer_one(self, number: int, item: Submission | Failure) -> None:
        failure: Failure | None = None
        try:
            if isinstance(item, Failure):
                failure = item
            else:
                result = item.result()
                self._dead_letters.keep(self._writer.table, item.batch, result)
                content = result_json(number, result)
        except Exception as error:  # noqa: BLE001  each batch gets an answer
            failure = self._failed(error)
        if failure is not None:
            # A client that only waits for results learns it here; the status follows at the end of the call.
            content = failure.as_json(number)
            _log.debug("A call to %s ends: %s", self._writer.table, failure.status)
        try:
            self._results.write(pa.py_buffer(content))
        except Exception:  # noqa: BLE001  this thread goes on, else the other one would wait for it
            _log.warning("A client of %s did not read its results from batch %d on", self._writer.table, number)
            failure = failure or _CLIENT_GONE
        self._failure = failure

    def _failed(self, error: Exception) -> Failure:
        failure = failure_of(error)
        if failure.status == "INTERNAL":
            _log.error("A call to %s failed: %s", self._writer.table, outline(error))
        return failure


def _fault_of(batch: pa.RecordBatch | None, max_bytes: int) -> str | None:
    """Return what is wrong with a batch as a message; its rows are checked later, one by one."""
    if batch is None:
        return "A message has metadata and no RecordBatch: send RecordBatches only"
    try:
        check_memory(batch)  # first of all: with wrong offsets anything else, even `nbytes`, reads foreign memory
    except pa.ArrowException as error:
        return f"A RecordBatch is damaged: {error}"
    if batch.nbytes > max_bytes:
        return (
            f"A RecordBatch of {batch.nbytes} bytes is above the gateway's limit of {max_bytes}: "
            "send smaller batches, or set max_message_bytes"
        )
    return None


def check_memory(batch: pa.RecordBatch) -> None:
    """Check lengths, offsets and indices; not whether text is UTF-8, which the writer checks row by row."""
    batch.validate()
    for column in batch.columns:
        as_bytes = _BYTES.get(column.type)
        (column if as_bytes is None else column.view(as_bytes)).validate(full=True)
