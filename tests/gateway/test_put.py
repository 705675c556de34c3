"""DoPut: each batch has its result, in order; what concerns a whole call ends it with a status."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import grpc
import pyarrow as pa
import pytest
from pyarrow import flight

from beam_zerobus import OAuthClientCredentials
from beam_zerobus.emulator import Faults, ScriptedFault
from tests.gateway import wire
from tests.gateway.conftest import TABLE, batch, path, put
from tests.schema.odd_values import ODD


def test_each_batch_has_its_result_in_order(client, table):
    results = put(client, [batch(*range(n, n + 10)) for n in range(0, 200, 10)])
    assert [result["batch"] for result in results] == list(range(20))
    assert all(result["success"] and result["rows"] == result["written"] == 10 for result in results)
    assert sorted(table.to_arrow()["id"].to_pylist()) == list(range(200))


def test_a_failed_row_has_its_index_and_reason_and_the_call_goes_on(client, table):
    first, second = put(client, [batch(1, None, 3), batch(4)])
    [failed] = first["failed_rows"]
    assert (first["success"], first["written"], failed["index"]) == (False, 2, 1)
    assert failed["error_type"] == "null_in_not_null_column"
    assert "column 'id'" in failed["message"]
    assert second["success"]
    assert sorted(table.to_arrow()["id"].to_pylist()) == [1, 3, 4]


def test_an_odd_value_fails_its_row_only_at_any_depth(client, emulator):
    for number, (name, odd) in enumerate(ODD.items()):
        table = emulator.create_table(f"main.iot.odd_{number}", f"id BIGINT, x {odd.ddl}")
        [result] = put(client, [pa.record_batch({"id": [1, 2, 3], "x": odd.column})], table.name)
        assert [(row["index"], row["error_type"]) for row in result["failed_rows"]] == [(1, odd.error_type)], name
        assert sorted(table.to_arrow()["id"].to_pylist()) == [1, 3], name


@pytest.mark.parametrize("others", [[], [None]])
def test_a_date_that_is_not_a_whole_day_fails_its_row_only(client, emulator, others):
    table = emulator.create_table("main.iot.days", "day DATE")
    days = pa.array([0, 1, 86_400_000, *others], pa.int64()).view(pa.date64())
    [result] = put(client, [pa.record_batch({"day": days})], table="main.iot.days")
    assert [(row["index"], row["error_type"]) for row in result["failed_rows"]] == [(1, "inexact")]
    assert table.count_rows() == 2 + len(others)


@pytest.mark.parametrize("type_", [pa.int64(), pa.date64(), pa.string()])
def test_a_wrong_count_of_nulls_ends_the_call(client, emulator, type_):
    table = emulator.create_table("main.iot.counts", "x STRING")
    column = pa.nulls(3, type_)
    wrong = pa.Array.from_buffers(type_, 3, column.buffers(), null_count=2)
    with pytest.raises(pa.ArrowInvalid, match=r"A RecordBatch is damaged: .*null_count value \(2\)"):
        put(client, [pa.record_batch({"x": wrong})], table="main.iot.counts")
    assert table.count_rows() == 0


def test_a_result_arrives_while_the_call_is_open(client, table):
    writer, reader = client.do_put(path(), batch(1).schema)
    for number in range(3):
        writer.write_batch(batch(number))
        assert json.loads(reader.read().to_pybytes())["batch"] == number
        assert table.count_rows() == number + 1
    writer.close()


def test_a_call_that_is_rejected_before_its_first_batch_has_a_status_and_no_result(client):
    writer, reader = client.do_put(path("main.air"), batch(1).schema)
    assert reader.read() is None
    with pytest.raises(pa.ArrowInvalid, match="'main.air' has 2 parts"):
        writer.close()


def test_an_empty_call_and_an_empty_batch(client, table):
    writer, reader = client.do_put(path(), batch(1).schema)
    writer.done_writing()
    assert reader.read() is None
    writer.close()
    [result] = put(client, [batch()])
    assert (result["success"], result["rows"]) == (True, 0)


@pytest.mark.parametrize("empty", [1, 2])
def test_an_empty_message_does_not_hide_the_batches_after_it(start, table, empty):
    _, *batches = [message.encoded() for message in wire.messages([batch(1), batch(2)])]
    [named] = wire.named([wire.messages([batch(1)])[0]])
    sent = [named, batches[0], *[b""] * empty, batches[1]]
    with grpc.insecure_channel(start().location.removeprefix("grpc://")) as channel:
        answers = channel.stream_stream("/arrow.flight.protocol.FlightService/DoPut")(iter(sent), timeout=20)
        assert b'"batch":0,"success":true' in next(answers)
        assert b"it is empty, and others follow" in next(answers)
        with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
            next(answers)
    assert table.to_arrow()["id"].to_pylist() == [1]


def test_many_clients_and_tables_at_once(start, emulator):
    tables = [emulator.create_table(f"main.iot.air_{n}", "id BIGINT NOT NULL, device STRING") for n in range(4)]
    gateway = start()

    def run(number: int) -> int:
        with flight.connect(gateway.location) as client:
            name = tables[number % 4].name
            return len(put(client, [batch(number * 100 + n) for n in range(20)], name))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(run, range(16))) == [20] * 16
    ids = [row for table in tables for row in table.to_arrow()["id"].to_pylist()]
    assert sorted(ids) == sorted(number * 100 + n for number in range(16) for n in range(20))


class Failing(NamedTuple):
    """A call that fails as a whole."""

    table: str
    rows: pa.RecordBatch
    error: type[Exception]
    words: str
    status: str


FAILING = {
    "missing": Failing("main.iot.missing", batch(1), pa.ArrowKeyError, "main.iot.missing does not exist", "NOT_FOUND"),
    "columns": Failing(
        TABLE,
        pa.record_batch({"nr": [1]}),
        pa.ArrowInvalid,
        "column 'nr' is not in the table",
        "INVALID_ARGUMENT",
    ),
}


@pytest.mark.parametrize("call", FAILING.values(), ids=FAILING)
def test_what_concerns_the_call_ends_it_and_the_next_one_works(client, table, call):
    with pytest.raises(call.error, match=call.words):
        put(client, [call.rows], call.table)
    [result] = put(client, [batch(1)])
    assert result["success"]


@pytest.mark.parametrize("call", FAILING.values(), ids=FAILING)
def test_a_client_that_waits_for_results_learns_of_the_failure_at_once(client, table, call):
    writer, reader = client.do_put(path(call.table), call.rows.schema)
    writer.write_batch(call.rows)
    last = json.loads(reader.read().to_pybytes())
    assert (last["batch"], last["success"], last["status"]) == (0, False, call.status)
    assert call.words in last["error"]
    with pytest.raises(call.error):
        writer.close()


def test_a_name_that_is_not_one_of_a_table(client):
    with pytest.raises(pa.ArrowInvalid, match=r"write it as 'catalog\.schema\.table'"):
        put(client, [batch(1)], "iot.air")


def test_results_before_a_failure_are_kept(client, table, emulator):
    emulator.faults = Faults(script=(ScriptedFault("status", at_call=2, code="PERMISSION_DENIED"),))
    writer, reader = client.do_put(path(), batch(1).schema)
    writer.write_batch(batch(1))
    assert json.loads(reader.read().to_pybytes())["success"]
    writer.write_batch(batch(2))
    last = json.loads(reader.read().to_pybytes())
    assert (last["batch"], last["status"]) == (1, "PERMISSION_DENIED")
    with pytest.raises(flight.FlightUnauthorizedError):
        writer.close()
    assert table.to_arrow()["id"].to_pylist() == [1]


def test_wrong_credentials_of_the_gateway(start, table, emulator):
    wrong = OAuthClientCredentials(client_id=emulator.client_id, client_secret="canary-secret")
    with flight.connect(start(defaults={"credentials": wrong}).location) as client:
        with pytest.raises(flight.FlightUnauthenticatedError) as raised:
            put(client, [batch(1)])
        assert "canary-secret" not in str(raised.value)


def test_a_service_that_is_gone(start, table, emulator):
    with flight.connect(start(defaults={"schema": "id BIGINT NOT NULL, device STRING"}).location) as client:
        emulator.kill()
        with pytest.raises(flight.FlightUnavailableError, match="Zerobus failed 2 times"):
            put(client, [batch(1)])
        emulator.start()
        assert put(client, [batch(1)])[0]["success"]


def test_a_failure_of_the_service_is_retried(client, table, emulator):
    emulator.faults = Faults(script=(ScriptedFault("status", at_call=2, code="UNAVAILABLE"),))
    results = [put(client, [batch(n)])[0] for n in range(4)]
    assert all(result["success"] for result in results)
    assert max(result["attempts"] for result in results) == 2
    assert sorted(table.to_arrow()["id"].to_pylist()) == list(range(4))


def test_a_message_above_the_limit(start, table):
    with flight.connect(start(max_message_bytes=1_000).location) as client:
        with pytest.raises(
            pa.ArrowInvalid,
            match="above the gateway's limit of 1000: send smaller batches, or have the gateway's operator raise max_",
        ):
            put(client, [batch(1), batch(*range(1_000))])
        assert table.to_arrow()["id"].to_pylist() == [1]


OPTIONS = {
    "unknown": (
        pa.record_batch({"id": [1], "nr": [1]}),
        'leave it out, have the gateway\'s operator set on_unknown_fields="ignore", "add" or "rescue", or add it',
    ),
    "number": (pa.record_batch({"at": [1]}), "cast it to a timestamp, or|operator set epoch_unit to"),
    "no zone": (pa.record_batch({"at": pa.array([1], pa.timestamp("us"))}), 'operator set assume_timezone="UTC"'),
}


@pytest.mark.parametrize(("rows", "words"), OPTIONS.values(), ids=OPTIONS)
def test_an_option_in_a_message_is_one_that_the_operator_sets(client, emulator, rows, words):
    emulator.create_table(TABLE, "id BIGINT, at TIMESTAMP")
    with pytest.raises(pa.ArrowInvalid, match=words) as raised:
        put(client, [rows])
    assert not re.search(r"(?<!operator )set (on_unknown_fields|assume_timezone|epoch_unit)", str(raised.value))


def test_more_calls_than_allowed(start, table):
    with flight.connect(start(max_calls=1).location) as client:
        writer, reader = client.do_put(path(), batch(1).schema)
        writer.write_batch(batch(1))
        reader.read()
        with pytest.raises(
            flight.FlightUnavailableError, match="as many calls as it may: wait, or have its operator raise max_calls"
        ):
            put(client, [batch(2)])
        writer.close()
        assert put(client, [batch(3)])[0]["success"]


def test_a_descriptor_that_names_no_table(client, table):
    writer, _ = client.do_put(flight.FlightDescriptor.for_command(b"x"), batch(1).schema)
    with pytest.raises(pa.ArrowInvalid, match="names no table"):
        writer.close()


def test_a_fault_of_the_settings_that_a_call_finds_is_not_a_missing_table(start, table):
    gateway = start(defaults={"on_unknown_fields": "rescue"})
    with flight.connect(gateway.location) as client:
        writer, results = client.do_put(path(), batch(1).schema)
        writer.write_batch(batch(1))
        writer.done_writing()
        last = json.loads(results.read().to_pybytes())
        assert (last["status"], "needs the column '_rescued_data'" in last["error"]) == ("INTERNAL", True)
        with pytest.raises(flight.FlightInternalError, match="needs the column '_rescued_data'"):
            writer.close()
