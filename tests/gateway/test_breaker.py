"""A gateway process whose table, credentials and clients change in the middle of calls: then the rows are counted."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import pyarrow as pa
import pytest
from pyarrow import flight

from beam_zerobus.emulator import Emulator, Faults
from beam_zerobus.emulator.tables.table import Table
from tests.emulator.sdk import eventually
from tests.gateway import wire
from tests.gateway.conftest import COLUMNS, TABLE, path
from tests.gateway.process import process

LOST_CREDENTIALS = Faults(rate=1.0, kinds=("token",), http_statuses=(401,))
ENDED = (pa.ArrowException, flight.FlightError, OSError)


def rows(ids: range, kind: pa.DataType | None = None, **more: list[str]) -> pa.RecordBatch:
    """Return rows whose text follows from their number, so that a wrong row shows."""
    return pa.record_batch({"id": pa.array(ids, kind or pa.int64()), "device": [f"d{n}" for n in ids], **more})


class Breaker:
    """Changes what the gateway works with, and counts.

    Attributes:
        confirmed: Numbers of the rows whose results say that they are in the table as it is now.
        sent: Numbers of all rows.
    """

    def __init__(self, emulator: Emulator, location: str, chance: random.Random) -> None:
        self.emulator = emulator
        self.location = location
        self.chance = chance
        self.table: Table = emulator.create_table(TABLE, COLUMNS)
        self.confirmed: set[int] = set()
        self.sent: set[int] = set()

    def ids(self) -> range:
        first = len(self.sent)
        ids = range(first, first + self.chance.randint(1, 50))
        self.sent.update(ids)
        return ids

    @staticmethod
    def result(reader: Any) -> dict[str, Any]:
        answer = reader.read()
        return {"success": False, "status": "ENDED"} if answer is None else json.loads(answer.to_pybytes())

    def send(self, writer: Any, reader: Any, batch: pa.RecordBatch) -> dict[str, Any]:
        """Send a batch, and note which of its rows the result confirms."""
        try:
            writer.write_batch(batch)
            result = self.result(reader)
        except ENDED as error:
            return {"success": False, "status": type(error).__name__}
        if "rows" in result:
            failed = {row["index"] for row in result["failed_rows"]}
            assert result["written"] + len(failed) == batch.num_rows
            self.confirmed.update(n for row, n in enumerate(batch["id"].to_pylist()) if row not in failed)
        return result

    def put(self, *batches: pa.RecordBatch) -> list[dict[str, Any]]:
        with flight.connect(self.location) as client:
            writer, reader = client.do_put(path(), batches[0].schema, flight.FlightCallOptions(timeout=60))
            results = [self.send(writer, reader, batch) for batch in batches]
            with suppress(*ENDED):
                writer.close()
            return results

    # What happens in the middle of a call.

    def column_is_added(self) -> None:
        name = f"extra_{len(self.sent)}"
        with self.call() as (writer, reader):
            assert self.send(writer, reader, rows(self.ids()))["success"]
            self.table.add_column(f"{name} STRING")
            assert self.send(writer, reader, rows(self.ids()))["success"]
        ids = self.ids()
        [result] = self.put(rows(ids, **{name: ["x"] * len(ids)}))
        # The schema is fetched again at most twice a minute: until then the whole call says what is missing.
        assert result["success"] or result["status"] == "INVALID_ARGUMENT"

    def table_is_made_again(self) -> None:
        columns = self.chance.choice([COLUMNS, "device STRING, id INT", f"{COLUMNS}, at TIMESTAMP"])
        with self.call() as (writer, reader):
            self.send(writer, reader, rows(self.ids()))
            self.emulator.drop_table(TABLE)
            self.confirmed.clear()
            self.table = self.emulator.create_table(TABLE, columns)
            for _ in range(3):
                if not self.send(writer, reader, rows(self.ids()))["success"]:
                    break

    def schema_changes_in_a_call(self) -> None:
        first, second = rows(self.ids()), pa.record_batch({"device": ["never"]})
        sent = [*wire.messages([first]), *wire.messages([second])]
        with grpc.insecure_channel(self.location.removeprefix("grpc://")) as channel:
            answers = [json.loads(one[one.index(b'{"') :]) for one in wire.call(channel, wire.named(sent), timeout=60)]
        assert answers[0]["success"]
        self.confirmed.update(first["id"].to_pylist())
        assert [answer.get("status") for answer in answers[1:]] == ["INVALID_ARGUMENT"]

    def clients_have_different_schemas(self) -> None:
        batches = [rows(self.ids(), kind) for kind in (pa.int64(), pa.int32(), pa.float64(), pa.uint64())]
        batches.append(batches.pop().select(["id"]))
        with ThreadPoolExecutor(4) as pool:
            assert all(result["success"] for results in pool.map(self.put, batches) for result in results)

    def client_cancels(self) -> None:
        batches = [rows(self.ids()) for _ in range(5)]
        with grpc.insecure_channel(self.location.removeprefix("grpc://")) as channel:
            put = channel.stream_stream("/arrow.flight.protocol.FlightService/DoPut")
            answers = put(wire.named(wire.messages(batches)), timeout=60)
            for batch in batches[: self.chance.randint(0, 4)]:
                assert b'"success":true' in next(answers)
                self.confirmed.update(batch["id"].to_pylist())
            answers.cancel()

    def credentials_are_rejected_for_a_while(self) -> None:
        self.emulator.faults = LOST_CREDENTIALS
        self.emulator.restart()  # its streams end, new ones need tokens
        [result] = self.put(rows(self.ids()))
        assert result["success"] or result["status"] in ("UNAUTHENTICATED", "UNAVAILABLE"), result
        self.emulator.faults = Faults()

    def call(self) -> Any:
        return _Call(self.location)

    def count(self) -> None:
        """Check that what was confirmed is there, as it was sent; and that the next call works."""
        eventually(lambda: self.put(rows(self.ids()))[0]["success"], seconds=60)
        found = self.table.to_arrow().select(["id", "device"]).to_pylist()
        numbers = {row["id"] for row in found}
        assert self.confirmed <= numbers
        assert numbers <= self.sent
        assert all(row["device"] in (f"d{row['id']}", None) for row in found)  # some send no device


class _Call:
    """A call of a client; its end is not of interest."""

    def __init__(self, location: str) -> None:
        self._client = flight.connect(location)

    def __enter__(self) -> tuple[Any, Any]:
        self._writer, reader = self._client.do_put(path(), rows(range(1)).schema, flight.FlightCallOptions(timeout=60))
        return self._writer, reader

    def __exit__(self, *_: object) -> None:
        with suppress(*ENDED):
            self._writer.close()
        self._client.close()


ACTIONS = (
    Breaker.column_is_added,
    Breaker.table_is_made_again,
    Breaker.schema_changes_in_a_call,
    Breaker.clients_have_different_schemas,
    Breaker.client_cancels,
    Breaker.credentials_are_rejected_for_a_while,
)


def order(seed: int, rounds: int) -> Iterator[Any]:
    chance = random.Random(seed)
    for _ in range(0, rounds, len(ACTIONS)):
        yield from chance.sample(ACTIONS, len(ACTIONS))


@pytest.mark.parametrize(
    ("seed", "rounds"),
    [(1, 6), *(pytest.param(n, 36, marks=[pytest.mark.hostile, pytest.mark.timeout(900)]) for n in (2, 3))],
)
def test_whatever_changes_what_was_confirmed_is_there(emulator, seed, rounds):
    with process(emulator) as (run, location):
        breaker = Breaker(emulator, location, random.Random(seed))
        for number, action in enumerate(order(seed, rounds)):
            print(number, action.__name__)
            action(breaker)
            breaker.count()
            assert run.poll() is None


def test_a_rejected_secret_that_becomes_valid_needs_no_restart(emulator, table):
    emulator.faults = LOST_CREDENTIALS
    with process(emulator) as (_, location), flight.connect(location) as client:

        def health() -> str:
            [answer] = client.do_action("health")
            return str(json.loads(answer.body.to_pybytes())["credentials"])

        def put() -> dict[str, Any]:
            with _Call(location) as (writer, reader):
                writer.write_batch(rows(range(3)))
                return Breaker.result(reader)

        eventually(lambda: health() == "rejected")
        refused = put()
        assert (refused["success"], refused["status"]) == (False, "UNAUTHENTICATED")
        assert emulator.client_secret not in json.dumps(refused)
        emulator.faults = Faults()
        assert put()["success"]
        assert table.count_rows() == 3
        eventually(lambda: health() == "accepted", seconds=70)
