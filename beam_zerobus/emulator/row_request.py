"""What every call has in common that is one request: REST inserts and OTLP exports."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import grpc
import pyarrow as pa

from beam_zerobus.emulator.counts.stats import RecordedCall
from beam_zerobus.emulator.faults import ScriptedFault
from beam_zerobus.emulator.host import Host, injected
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.tables.publisher import Arrived
from beam_zerobus.emulator.tables.table import Table
from beam_zerobus.schema import TableSchema

__all__ = ["NoAnswerError", "RowRequest", "store_rows"]

_STORE_SECONDS = 60.0


class NoAnswerError(Exception):
    """A fault: the connection is closed without an answer."""


@dataclass(frozen=True, slots=True)
class RowRequest:
    """A request with rows, counted and struck by faults as a stream's call is.

    Attributes:
        host: The state shared with streams.
        table: Where the rows go.
        schema: The table's columns when the request arrived.
        rows: How many rows were sent.
        size: Bytes of the request.
        fault: What strikes the request once its rows are stored; None for nothing.
    """

    host: Host
    table: Table
    schema: TableSchema
    rows: int
    size: int
    fault: ScriptedFault | None

    @classmethod
    def arrived(cls, host: Host, table: Table, rows: int, size: int, records: Any) -> RowRequest:
        """Count a request.

        Args:
            host: The state shared with streams.
            table: Where the rows go.
            rows: How many rows were sent.
            size: Bytes of the request.
            records: The rows as received, to be recorded.

        Raises:
            Rejection: A fault ends the request before anything is stored.
            NoAnswerError: A fault ends the connection.
        """
        schema, recorded = table.schema, None
        if host.stats.record_calls:
            recorded = RecordedCall(table=table.name, stream_id="", offset=0, records=records, rows=rows)
        host.stats.request_received(table.name, rows, size, recorded)
        fault = host.injector.on_call(table.name)
        if fault is not None:
            host.stats.fault_injected(fault.kind)
            if fault.kind == "hang" or (fault.ends_stream and not fault.after_storing):
                raise _ending(fault)
        return cls(host, table, schema, rows, size, fault)

    def check(self, chunk: pa.RecordBatch) -> None:
        """Reject rows that a fault rejects.

        Raises:
            Rejection: There is such a row.
        """
        for rule in self.host.injector.faults.reject_rows:
            rule.check(self.table.name, chunk)

    def store(self, chunk: pa.RecordBatch) -> None:
        """Store rows durably.

        Raises:
            Rejection: They are not stored, or a fault ends the request afterwards.
            NoAnswerError: A fault ends the connection.
        """
        self.table.check_partitions(chunk)
        store_rows(self.table, chunk, self.size, self.schema)
        self.host.stats.activity.stored(self.table.name, chunk)
        fault = self.fault
        late = fault.delay if fault is not None and fault.kind == "slow_ack" else 0.0
        time.sleep(self.host.injector.faults.ack_delay + late)
        if fault is not None and (fault.ends_stream or fault.kind == "no_ack"):
            raise _ending(fault)
        self.host.stats.request_acknowledged(self.table.name, chunk.num_rows)


def store_rows(table: Table, chunk: pa.RecordBatch, size: int, schema: TableSchema) -> None:
    """Store rows, and wait until they are durable.

    Args:
        table: The table.
        chunk: The rows.
        size: Bytes that they occupy.
        schema: The table's columns when the rows were read.

    Raises:
        Rejection: They are not stored.
    """
    outcome: Future[BaseException | None] = Future()
    table.append(Arrived(chunk, chunk.num_rows, size, schema, outcome.set_result))
    problem = _outcome(outcome)
    if problem is not None:
        raise problem


def _outcome(stored: Future[BaseException | None]) -> Rejection | None:
    try:
        problem = stored.result(_STORE_SECONDS)
    except TimeoutError:
        return Rejection(grpc.StatusCode.UNAVAILABLE, "the rows were not stored in time; they may be stored later")
    if problem is None or isinstance(problem, Rejection):
        return problem
    return Rejection(grpc.StatusCode.INTERNAL, f"the rows could not be stored: {type(problem).__name__}")


def _ending(fault: ScriptedFault) -> Exception:
    return injected(fault) if fault.kind == "status" and fault.code != "OK" else NoAnswerError()
