"""The table's schema changes between the conversion of rows and their submission."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

from beam_zerobus import Batching, ConversionError, OAuthClientCredentials, Telemetry, ZerobusWriter
from beam_zerobus.batching import RowLimit
from beam_zerobus.emulator import Emulator
from beam_zerobus.sink.bundle import Bundle
from beam_zerobus.sink.elements import Elements
from beam_zerobus.sink.rows_of_file import RowsOfFile
from beam_zerobus.sink.settings import SinkSettings
from beam_zerobus.sink.table_rows import TableRows
from beam_zerobus.telemetry import providers
from beam_zerobus.writer import shared
from beam_zerobus.writer.config import make_config
from tests.telemetry.receiver import Receiver

TABLE = "main.iot.air"


class Moment:
    """A timestamp that does something when it is read."""

    def __init__(self, read: Callable[[], object]) -> None:
        self._read = read

    @property
    def micros(self) -> int:
        self._read()
        return 0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
        providers.shutdown()


def batches_by_outcome(receiver: Receiver) -> tuple[list[object], dict[str, float]]:
    """Return the outcome of each span, and how many batches the metrics count."""
    providers.shutdown()
    seen = receiver.seen
    spans = [span.attributes["beam_zerobus.outcome"] for span in seen.named(f"send {TABLE}")]
    outcomes = ("acknowledged", "partial", "failed")
    counts = {outcome: seen.total("beam_zerobus.batches", beam_zerobus__outcome=outcome) for outcome in outcomes}
    return spans, {outcome: count for outcome, count in counts.items() if count}


@pytest.mark.parametrize("of_file", [False, True])
@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_rows_are_converted_again_for_the_newer_schema(
    emulator: Emulator, receiver: Receiver, wire_format: str, of_file: bool
) -> None:
    table = emulator.create_table(TABLE, "id BIGINT, at TIMESTAMP, name STRING")
    config = make_config(
        TABLE,
        endpoint=emulator.endpoint,
        workspace_url=emulator.workspace_url,
        credentials=OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
        schema="unity_catalog",
        wire_format=wire_format,
        telemetry=Telemetry(endpoint=receiver.endpoint, flush_timeout=30.0),
    )
    settings = SinkSettings(config=config, batching=Batching(), dead_letters=True, namespace="test")
    bundle = Bundle()

    def change() -> None:
        if any(column.name == "name" for column in table.schema.columns):
            table.drop_column("name")
            with bundle.writer(config) as writer:
                writer.look_again()

    rows = [{"id": 1, "at": Moment(change), "name": "a"}, {"id": 2, "at": Moment(change)}]
    elements = Elements([RowsOfFile(rows, "rows.jsonl", "line", range(1, 3))] if of_file else rows)
    TableRows(config, settings, bundle, RowLimit(settings.batching)).send(elements, incomplete=True)
    failed = [error for outcome in bundle.outcomes(wait=True) for error in outcome.rejected]
    bundle.finish()
    shared.close_all()
    assert [(error.index, error.error_type) for error in failed] == [(0, "unknown_field")]
    assert table.to_arrow()["id"].to_pylist() == [2]
    assert batches_by_outcome(receiver) == (["acknowledged"], {"acknowledged": 1})  # the sink counts the failed row


def test_a_writer_reads_its_rows_again_for_the_newer_schema(emulator: Emulator, receiver: Receiver) -> None:
    table = emulator.create_table(TABLE, "id BIGINT, at TIMESTAMP, name STRING")
    credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret)
    with ZerobusWriter(
        TABLE,
        endpoint=emulator.endpoint,
        workspace_url=emulator.workspace_url,
        credentials=credentials,
        telemetry=Telemetry(endpoint=receiver.endpoint, flush_timeout=30.0),
    ) as writer:

        def change() -> None:
            if any(column.name == "name" for column in table.schema.columns):
                table.drop_column("name")
                writer.look_again()

        rows = [{"id": 1, "at": Moment(change), "name": "a"}, {"id": 2, "at": Moment(change)}]
        result = writer.send(row for row in rows)
    assert [(error.index, error.error_type) for error in result.failed_rows] == [(0, "unknown_field")]
    assert table.to_arrow()["id"].to_pylist() == [2]
    assert batches_by_outcome(receiver) == (["partial"], {"partial": 1})


def test_rows_that_fit_no_schema_are_one_failed_batch(emulator: Emulator, receiver: Receiver) -> None:
    emulator.create_table(TABLE, "id BIGINT")
    credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret)
    with (
        ZerobusWriter(
            TABLE,
            endpoint=emulator.endpoint,
            workspace_url=emulator.workspace_url,
            credentials=credentials,
            telemetry=Telemetry(endpoint=receiver.endpoint, flush_timeout=30.0),
        ) as writer,
        pytest.raises(ConversionError, match="'other'"),
    ):
        writer.send(pa.record_batch({"other": [1]}))
    assert batches_by_outcome(receiver) == (["failed"], {"failed": 1})
