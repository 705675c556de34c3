"""`PutCall`: one call of a client that writes to one table."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pyarrow as pa
from pyarrow import flight

from beam_zerobus.gateway.dead_letters import DeadLetters
from beam_zerobus.gateway.idle import IdleTime
from beam_zerobus.gateway.results import Failure, failure_of, result_json
from beam_zerobus.gateway.settings import GatewaySettings
from beam_zerobus.gateway.sizes import decoded_bytes
from beam_zerobus.gateway.waiting import Waiting
from beam_zerobus.logs import get_logger
from beam_zerobus.schema.soundness import require_sound
from beam_zerobus.writer.submission import Submission
from beam_zerobus.writer.zerobus_writer import ZerobusWriter

__all__ = ["PutCall"]

_log = get_logger(__name__)
_STOPPING = Failure("UNAVAILABLE", "The gateway is stopping: send the batches without a result again, to the next one")
_CLIENT_GONE = Failure("UNAVAILABLE", "The client is gone")
_READS_AFTER_END = 3  # they return at once where nothing follows


class PutCall:
    """Writes the batches of a client and answers each, in their order.

    Two threads: `run`, in the thread of the call, reads and submits; `_answer` waits for outcomes and writes results.
    `_waiting` between them holds what has no result yet, in order; a failure may be the last, and None is the end.
    While it is full nothing is read, so the client has to wait.

    Invariant: only `_answer` sets `_failure`, once; no batch is submitted and no result is written after it.

    Args:
        peer: The client's address, as gRPC writes it.
        reader: The client's batches.
        results: Where results go.
        settings: The gateway's limits.
        dead_letters: Keeps the rows that failed.
        stopping: Whether the gateway accepts nothing new.
    """

    def __init__(
        self,
        peer: str,
        reader: Any,
        results: Any,
        *,
        settings: GatewaySettings,
        dead_letters: DeadLetters,
        stopping: Callable[[], bool],
    ) -> None:
        self.peer = peer
        self._reader = reader
        self._results = results
        self._max_message_bytes = settings.max_message_bytes
        self._dead_letters = dead_letters
        self._stopping = stopping
        self._waiting: Waiting[Submission | Failure | None] = Waiting(
            max_items=settings.max_batches_in_flight, max_bytes=settings.max_bytes_in_flight
        )
        self._failure: Failure | None = None
        self._idle = IdleTime()

    @property
    def idle_seconds(self) -> float:
        """How long the call has waited for nothing but its client."""
        return self._idle.seconds()

    def end_idle(self, seconds: float) -> None:
        """Let the client read that its call ends because it was idle for too long."""
        self._waiting.end(Failure("UNAVAILABLE", f"The call was idle for {seconds:g} s, the limit: make another one"))

    def run(self, writer: ZerobusWriter) -> None:
        """Write until the client has sent everything, and every batch has its result.

        Args:
            writer: Writes to the table.

        Raises:
            flight.FlightError: The call failed; batches without a result may or may not be in the table.
            pa.ArrowException: The same, for a missing table or batches that are not valid.
        """
        answering = threading.Thread(target=self._answer, args=[writer], name=f"gateway-{writer.table}", daemon=True)
        answering.start()
        try:
            while isinstance(accepted := self._next(writer), Submission):
                self._waiting.put(accepted, accepted.arrow_bytes)
            if accepted is not None:
                self._waiting.end(accepted)
        finally:
            self._waiting.end(None)
            answering.join()
        if self._failure is not None:
            raise self._failure.as_error()

    def _next(self, writer: ZerobusWriter) -> Submission | Failure | None:
        """Read and submit a batch; None at the end of the client's stream, and after a failure."""
        if self._failure is not None:
            return None
        try:
            with self._idle.reading:
                batch = self._read()
        except StopIteration:
            return None
        except pa.ArrowMemoryError as error:
            words = "A message needs more memory, once it is decompressed, than the gateway may use"
            return Failure("INVALID_ARGUMENT", f"{words} ({_in_a_line(error)}): send smaller batches")
        except (pa.ArrowException, flight.FlightError, OSError) as error:
            return Failure("INVALID_ARGUMENT", f"A message is not a valid RecordBatch: {_in_a_line(error)}")
        except Exception as error:  # noqa: BLE001  the call gets an answer
            return _failure_of(error, writer)
        return None if self._failure is not None else self._submitted(batch, writer)  # perhaps set during the read

    def _read(self) -> pa.RecordBatch | None:
        """Read a batch; None for a message without one.

        Raises:
            StopIteration: The client has sent everything.
            pa.ArrowInvalid: An empty message, which Arrow takes for the end, is followed by others.
        """
        try:
            return self._reader.read_chunk().data
        except StopIteration:
            for _ in range(_READS_AFTER_END):
                with suppress(StopIteration):
                    self._reader.read_chunk()
                    raise pa.ArrowInvalid("it is empty, and others follow; leave it out") from None
            raise

    def _submitted(self, batch: pa.RecordBatch | None, writer: ZerobusWriter) -> Submission | Failure:
        if self._stopping():
            return _STOPPING
        try:
            if (fault := _fault_of(batch, self._max_message_bytes)) is not None:
                return Failure("INVALID_ARGUMENT", fault)
            return writer.submit(batch)
        except UnicodeDecodeError:  # pyarrow decodes names when they are used
            return Failure("INVALID_ARGUMENT", "A name in the schema is not UTF-8: correct it")
        except Exception as error:  # noqa: BLE001  each batch gets an answer
            return _failure_of(error, writer)

    def _answer(self, writer: ZerobusWriter) -> None:
        """Write the result of each batch, until one fails as a whole: then the failure, and nothing after it."""
        number = 0
        while (item := self._next_to_answer()) is not None:
            if self._failure is None:
                self._failure = self._answer_one(number, item, writer)
                number += 1
            elif isinstance(item, Submission) and self._failure is not _CLIENT_GONE:
                item.drop_outcome()  # the client learns from the failure that this batch has no result

    def _next_to_answer(self) -> Submission | Failure | None:
        with self._idle.nothing_to_answer:
            return self._waiting.get()

    def _answer_one(self, number: int, item: Submission | Failure, writer: ZerobusWriter) -> Failure | None:
        """Write one result; return why the call has failed."""
        failure, content = self._result(number, item, writer)
        try:
            with self._idle.writing:
                self._results.write(pa.py_buffer(content))
        except Exception:  # noqa: BLE001  this thread goes on, else the other one would wait for it
            _log.warning("A client of %s did not read its results from batch %d on", writer.table, number)
            return failure or _CLIENT_GONE
        return failure

    def _result(self, number: int, item: Submission | Failure, writer: ZerobusWriter) -> tuple[Failure | None, bytes]:
        """Wait for an outcome; return what has failed, and what the client reads."""
        if isinstance(item, Submission):
            try:
                result = item.result()
                self._dead_letters.keep(writer.table, item.batch, result)
                return None, result_json(number, result)
            except Exception as error:  # noqa: BLE001  each batch gets an answer
                item = _failure_of(error, writer)
        # A client that only waits for results learns it here; the status follows at the end of the call.
        _log.debug("A call to %s ends: %s", writer.table, item.status)
        return item, item.as_json(number)


def _failure_of(error: Exception, writer: ZerobusWriter) -> Failure:
    return failure_of(error, f"A call to {writer.table}")


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _fault_of(batch: pa.RecordBatch | None, max_bytes: int) -> str | None:
    """Return what is wrong with a batch as a message; its rows are checked later, one by one."""
    if batch is None:
        return "A message has metadata and no RecordBatch: send RecordBatches only"
    try:
        require_sound(batch)  # first of all: with wrong offsets anything else, even `nbytes`, reads foreign memory
    except pa.ArrowException as error:
        return f"A RecordBatch is damaged: {_in_a_line(error)}"
    if (size := decoded_bytes(batch)) > max_bytes:
        return (
            f"A RecordBatch of {size} bytes, once it is decoded, is above the gateway's limit of {max_bytes}: "
            "send smaller batches, or have the gateway's operator raise max_message_bytes"
        )
    return None
