"""What a client sees of a call that fails: one sentence, the status that fits, and nothing of the gateway's inside."""

from __future__ import annotations

import random
from collections import UserDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest

from beam_zerobus import OAuthClientCredentials
from tests.gateway import wire
from tests.gateway.conftest import TABLE, batch
from tests.gateway.mutations import mutated

REPOSITORY = str(Path(__file__).parents[2])
SERVICE = "/arrow.flight.protocol.FlightService/"


@pytest.fixture
def channel_to(start) -> Iterator[Callable[..., grpc.Channel]]:
    """Start a gateway with settings, and connect to it by plain gRPC."""
    channels = []

    def channel_to(**settings: Any) -> grpc.Channel:
        channels.append(grpc.insecure_channel(start(**settings).location.removeprefix("grpc://")))
        return channels[-1]

    yield channel_to
    for channel in channels:
        channel.close()


def failed(channel: grpc.Channel, method: str, sent: Iterable[bytes]) -> tuple[str, str]:
    """Make a call that has to fail; return its status and message, once they are checked for what no client may see."""
    with pytest.raises(grpc.RpcError) as raised:
        list(channel.stream_stream(SERVICE + method)(iter(sent), timeout=20))
    check_shows_nothing_inside(raised.value)
    return raised.value.code().name, raised.value.details()


def check_shows_nothing_inside(error: grpc.RpcError) -> None:
    everything = f"{error.details()} {[value for _, value in error.trailing_metadata() or ()]}"
    for inside in ("Traceback", 'File "', " line ", ".py", ".cc", REPOSITORY, "\n"):
        assert inside not in everything, everything


def of_another_schema() -> list[wire.Message]:
    other = wire.messages([pa.record_batch({"name": ["x"]})])
    return [*wire.messages([batch(1)]), *other]


def without_an_offset() -> list[wire.Message]:
    schema, (header, body) = wire.messages([batch(*range(8))])
    return [schema, wire.Message(header.replace((4 * 9).to_bytes(8, "little"), bytes(8)), body)]


def cut() -> list[wire.Message]:
    schema, (header, body) = wire.messages([batch(*range(8))], "zstd")
    return [schema, wire.Message(header, body[:20])]


def of_extension_type() -> list[wire.Message]:
    field = pa.field("id", pa.string(), metadata={"ARROW:extension:name": "acme.id", "ARROW:extension:metadata": "{"})
    return wire.messages([pa.record_batch([pa.array(["x"])], schema=pa.schema([field]))])


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (of_another_schema(), "A message is not a valid RecordBatch: "),
        (without_an_offset(), "A RecordBatch is damaged: "),
        (cut(), "A message is not a valid RecordBatch: "),
        (of_extension_type(), "table main.iot.air: the batch does not fit: column 'id' is BIGINT"),
        ([wire.messages([batch(1)])[0], wire.Message(b"\xff" * 64, b"")], "A message is not a valid RecordBatch: "),
    ],
    ids=["another schema", "damaged", "cut", "extension type", "noise"],
)
def test_what_a_client_gets_wrong_is_an_invalid_argument(channel_to, table, sent, words):
    status, message = failed(channel_to(), "DoPut", wire.named(sent))
    assert status == "INVALID_ARGUMENT"
    assert message.startswith(words)


DESCRIPTOR = b"\x08\x01\x1a" + bytes([len(TABLE)]) + TABLE.encode()
ACTION = b"\x0a\x05check\x12" + bytes([len(TABLE)]) + TABLE.encode()
CALLS = {
    "DoPut": list(wire.named(wire.messages([batch(1)]))),
    "GetFlightInfo": [DESCRIPTOR],
    "GetSchema": [DESCRIPTOR],
    "DoAction": [ACTION],
}


@pytest.mark.parametrize("method", CALLS)
def test_a_missing_table_is_not_found(channel_to, method):
    status, message = failed(channel_to(), method, CALLS[method])
    assert status == "NOT_FOUND"
    assert f"{TABLE} does not exist" in message


@pytest.mark.parametrize("method", CALLS)
def test_an_unexpected_error_shows_its_type_alone(channel_to, table, method, caplog):
    secret = "s3cret"

    class Options(UserDict[str, Any]):
        broken = False

        def __getitem__(self, name: str) -> Any:
            if self.broken:
                raise LookupError(secret)
            return super().__getitem__(name)

    options = Options(wire_format="arrow")
    channel = channel_to(tables={TABLE: options})
    options.broken = True
    status, message = failed(channel, method, CALLS[method])
    assert status == ("UNKNOWN" if method == "GetSchema" else "INTERNAL")
    assert message.startswith("The gateway failed with LookupError: see its log")
    assert "A call" in caplog.text
    assert "LookupError" in caplog.text
    assert secret not in message + caplog.text


@pytest.mark.parametrize("method", CALLS)
def test_rejected_credentials_are_unauthenticated(channel_to, emulator, method):
    emulator.create_table(TABLE, "id BIGINT NOT NULL, device STRING")
    wrong = OAuthClientCredentials(client_id=emulator.client_id, client_secret="canary")
    status, message = failed(channel_to(defaults={"credentials": wrong}), method, CALLS[method])
    assert status == ("UNKNOWN" if method == "GetSchema" else "UNAUTHENTICATED")
    assert "canary" not in message


@pytest.mark.parametrize(("method", "sent"), [("ListFlights", b""), ("DoGet", b""), ("DoExchange", b"")])
def test_what_reads_is_unimplemented(channel_to, method, sent):
    encoded = next(wire.named(wire.messages([batch(1)]))) if method == "DoExchange" else sent
    status, message = failed(channel_to(), method, [encoded])
    assert status == "UNIMPLEMENTED"
    assert message.startswith("The gateway only writes: send batches with DoPut")


def test_an_unknown_action(channel_to):
    status, message = failed(channel_to(), "DoAction", [b"\x0a\x04drop"])
    assert status == "INVALID_ARGUMENT"
    assert message.startswith("There is no action 'drop': use check, flush, health")


@pytest.mark.parametrize(
    "encoded",
    [
        [b"\xff" * 100],
        [wire.Message(b"", b"").encoded(table=TABLE)],
        [wire.messages([batch(1)])[1].encoded(table=TABLE)],
        [wire.Message(b"\xff" * 100, b"").encoded(table=TABLE)],
        [wire.messages([batch(1)])[0].encoded(table="main.iot.\n")],
    ],
    ids=["noise", "no schema", "rows first", "damaged schema", "strange name"],
)
def test_a_call_without_a_first_message_that_can_be_read_fails_in_a_sentence(channel_to, table, encoded):
    assert failed(channel_to(), "DoPut", encoded)[0] != "OK"


def test_damaged_messages_fail_in_a_sentence(channel_to, table):
    chance = random.Random(0)
    channel = channel_to()
    put = channel.stream_stream(f"{SERVICE}DoPut")
    failures = 0
    for _ in range(60):
        sent = mutated(wire.messages([batch(*range(8))] * 2, chance.choice((None, "zstd"))), chance)
        try:
            list(put(wire.named(sent), timeout=20))
        except grpc.RpcError as error:
            failures += 1
            check_shows_nothing_inside(error)
    assert failures > 10


@pytest.mark.parametrize("character", ["x", "ü", "\U0001f600"], ids=["ASCII", "two bytes", "four bytes"])
@pytest.mark.parametrize("count", [2_000, 5_000, 200_000])
def test_a_message_that_quotes_a_long_name_fits_into_the_trailers_of_http(channel_to, character, count):
    name = (character * count).encode()
    status, message = failed(channel_to(), "DoAction", [wire.field(1, name)])
    assert status == "INVALID_ARGUMENT"
    assert message.startswith(f"There is no action '{character * 100}")
    assert f"{character} ..." in message


def test_a_long_name_of_a_column_is_whole_in_the_result_of_its_batch(channel_to, table):
    name = "c" * 100_000
    sent = list(wire.named(wire.messages([pa.record_batch({"id": pa.array([1], pa.int64()), name: ["x"]})])))
    channel = channel_to()
    assert failed(channel, "DoPut", sent)[0] == "INVALID_ARGUMENT"
    assert f"column '{name}' is not in the table".encode() in wire.call(channel, sent)[-1]
