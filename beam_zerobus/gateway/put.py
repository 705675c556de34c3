"""`PutCall`: one call of a client that writes to one table."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import flight

from beam_zerobus.errors import ZerobusError
from beam_zerobus.gateway.results import Failure, failure_of, result_json
from beam_zerobus.logs import get_logger
from beam_zerobus.writer.submission import Submission
from beam_zerobus.writer.zerobus_writer import ZerobusWriter

__all__ = ["PutCall"]

_log = get_logger(__name__)
_STOPPING = Failure("UNAVAILABLE", "The gateway is stopping: send the batches without a result again, to the next one")
_CLIENT_GONE = Failure("UNAVAILABLE", "The client is gone")


class PutCall:
    """Writes the batches of a client and answers each, in their order.

    Two threads: `run` reads and submits in the thread of the call, `_answer` waits for outcomes and writes results.
    `_waiting` between them holds what has no result yet, in order, and perhaps a failure as the last; while it is full
    nothing is read, so that the client has to wait. Only `_answer` sets `_failure`, once; nothing is read after it.

    Args:
        writer: Writes to the table.
        reader: The client's batches.
        results: Where results go.
        max_message_bytes: A larger batch ends the call.
        max_in_flight: Batches without a result at most.
        stopping: Whether the gateway takes nothing new.
    """

    def __init__(
        self,
        writer: ZerobusWriter,
        reader: Any,
        results: Any,
        *,
        max_message_bytes: int,
        max_in_flight: int,
        stopping: Callable[[], bool],
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._results = results
        self._max_message_bytes = max_message_bytes
        self._stopping = stopping
        self._waiting: queue.Queue[Submission | Failure | None] = queue.Queue(max_in_flight)
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
            while self._failure is None and (accepted := self._next()) is not None:
                self._waiting.put(accepted)
                if isinstance(accepted, Failure):
                    break
        finally:
            self._waiting.put(None)
            answering.join()
        if self._failure is not None:
            raise self._failure.as_error()

    def _next(self) -> Submission | Failure | None:
        """Read and submit a batch; None at the end of the client's stream."""
        try:
            batch = self._reader.read_chunk().data
        except StopIteration:
            return None
        except (pa.ArrowException, flight.FlightError) as error:
            return Failure("INVALID_ARGUMENT", f"A message is not a valid RecordBatch: {error}")
        if self._stopping():
            return _STOPPING
        if (fault := self._fault_of(batch)) is not None:
            return Failure("INVALID_ARGUMENT", fault)
        try:
            return self._writer.submit(batch)
        except ZerobusError as error:
            return failure_of(error)

    def _fault_of(self, batch: pa.RecordBatch) -> str | None:
        """Return what is wrong with a batch as a message; its rows are checked later, one by one."""
        if batch.nbytes > self._max_message_bytes:
            return (
                f"A RecordBatch of {batch.nbytes} bytes is above the gateway's limit of {self._max_message_bytes}: "
                "send smaller batches, or set max_message_bytes"
            )
        try:
            batch.validate(full=True)  # bytes from the network: a wrong offset would read foreign memory
        except pa.ArrowInvalid as error:
            return f"A RecordBatch is damaged: {error}"
        return None

    def _answer(self) -> None:
        """Write the result of each batch, until one fails as a whole: then the failure, and nothing after it."""
        number = 0
        while (item := self._waiting.get()) is not None:
            if self._failure is None:
                self._answer_one(number, item)
                number += 1
            elif isinstance(item, Submission):
                item.asked = True  # the client learns from the failure that it has no result

    def _answer_one(self, number: int, item: Submission | Failure) -> None:
        try:
            content = item if isinstance(item, Failure) else result_json(number, item.result())
        except ZerobusError as error:
            content = failure_of(error)
        if isinstance(content, Failure):
            # A client that only waits for results learns it here; the status follows at the end of the call.
            self._failure = content
            _log.debug("A call to %s ends: %s", self._writer.table, content.status)
            content = content.as_json(number)
        try:
            self._results.write(pa.py_buffer(content))
        except (pa.ArrowException, flight.FlightError, OSError):
            self._failure = self._failure or _CLIENT_GONE
