"""DoPut: each batch has its result, in order; what concerns a whole call ends it with a status."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pyarrow as pa
import pytest
from pyarrow import flight

from beam_zerobus import OAuthClientCredentials
from beam_zerobus.emulator import Faults, ScriptedFault
from tests.gateway.conftest import TABLE, batch, path, put


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


def test_text_that_is_not_utf8_fails_its_row_only(client, table):
    devices = pa.array([b"attic", b"\xff", b"cellar"], pa.binary()).view(pa.string())
    [result] = put(client, [pa.record_batch({"id": [1, 2, 3], "device": devices})])
    assert [(row["index"], row["error_type"]) for row in result["failed_rows"]] == [(1, "invalid_utf8")]
    assert sorted(table.to_arrow()["id"].to_pylist()) == [1, 3]


def test_a_result_arrives_while_the_call_is_open(client, table):
    writer, reader = client.do_put(path(), batch(1).schema)
    for number in range(3):
        writer.write_batch(batch(number))
        assert json.loads(reader.read().to_pybytes())["batch"] == number
        assert table.count_rows() == number + 1
    writer.close()


def test_an_empty_call_and_an_empty_batch(client, table):
    writer, reader = client.do_put(path(), batch(1).schema)
    writer.done_writing()
    assert reader.read() is None
    writer.close()
    [result] = put(client, [batch()])
    assert (result["success"], result["rows"]) == (True, 0)


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
        with pytest.raises(pa.ArrowInvalid, match="above the gateway's limit of 1000"):
            put(client, [batch(1), batch(*range(1_000))])
        assert table.to_arrow()["id"].to_pylist() == [1]


def test_more_calls_than_allowed(start, table):
    with flight.connect(start(max_calls=1).location) as client:
        writer, reader = client.do_put(path(), batch(1).schema)
        writer.write_batch(batch(1))
        reader.read()
        with pytest.raises(flight.FlightUnavailableError, match="serves 1 calls, its limit"):
            put(client, [batch(2)])
        writer.close()
        assert put(client, [batch(3)])[0]["success"]


def test_a_descriptor_that_names_no_table(client, table):
    writer, _ = client.do_put(flight.FlightDescriptor.for_command(b"x"), batch(1).schema)
    with pytest.raises(pa.ArrowInvalid, match="names no table"):
        writer.close()
