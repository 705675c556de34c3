"""A canary secret shows in no span, metric, debug file or request to a receiver, whatever fails."""

from __future__ import annotations

import itertools
from contextlib import suppress
from urllib.parse import quote

import pyarrow as pa
import pytest

from beam_zerobus import (
    DebugFiles,
    OAuthClientCredentials,
    Retry,
    Telemetry,
    ZerobusError,
    ZerobusWriter,
)
from beam_zerobus.emulator import Emulator, Faults, ScriptedFault
from beam_zerobus.telemetry import providers
from tests.hostile.canary import LATIN, TABLE, assert_hidden, canaries
from tests.telemetry.receiver import Receiver

pytestmark = pytest.mark.hostile


FAULTS = {
    "accepted": (),
    "no token": (ScriptedFault("token", at_token=1, times=9, http_status=401),),
    "tokens later": (ScriptedFault("token", at_token=1, http_status=503),),
    "rejected": (ScriptedFault("reject", at_stream=1, times=9, code="UNAUTHENTICATED", message="no"),),
}


@pytest.mark.parametrize("fault", FAULTS)
@canaries
def test_spans_metrics_and_debug_files_show_nothing(canary, fault, log, tmp_path):
    with Emulator(client_id="the-id", client_secret=canary, faults=Faults(script=FAULTS[fault])) as emulator:
        emulator.create_table(TABLE, "id BIGINT")
        telemetry = Telemetry(output_dir=tmp_path, flush_timeout=10.0)
        send_with_telemetry(emulator, canary, telemetry, DebugFiles(output_dir=tmp_path))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files or fault == "no token"  # nothing was sent
    for path in files:
        assert_hidden(canary, path.read_bytes().decode("utf-8", "replace"), path.name)
    assert_hidden(canary, log())


PROTOCOLS = ("grpc", "http/protobuf")


def send_with_telemetry(
    emulator: Emulator, canary: str, telemetry: Telemetry, debug_files: DebugFiles | None = None
) -> None:
    """Send a batch, whatever becomes of it, with the canary as client secret; then export."""
    with (
        suppress(ZerobusError),
        ZerobusWriter(
            TABLE,
            endpoint=emulator.endpoint,
            workspace_url=emulator.workspace_url,
            credentials=OAuthClientCredentials(client_id="the-id", client_secret=canary),
            schema="unity_catalog",
            retry=Retry(max_retries=1, initial_backoff=0.01),
            telemetry=telemetry,
            debug_files=debug_files,
        ) as writer,
    ):
        writer.submit(pa.record_batch({"id": [1]})).result(30)
    writer.close()
    providers.shutdown()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@canaries
def test_what_an_otlp_receiver_gets_shows_nothing(canary, protocol, fault, log):
    with (
        Receiver(protocol) as receiver,
        Emulator(client_id="the-id", client_secret=canary, faults=Faults(script=FAULTS[fault])) as emulator,
    ):
        emulator.create_table(TABLE, "id BIGINT")
        headers = {"api-key": LATIN}
        telemetry = Telemetry(endpoint=receiver.endpoint, protocol=protocol, headers=headers, flush_timeout=10.0)
        send_with_telemetry(emulator, canary, telemetry)
        assert receiver.seen.raw
        assert {seen["api-key"] for seen in receiver.seen.headers} == {LATIN}
        for body in receiver.seen.raw:
            assert_hidden(canary, body.decode("utf-8", "replace"))
            assert_hidden(LATIN, body.decode("utf-8", "replace"))
    assert_hidden(canary, log())
    assert_hidden(LATIN, log())


@pytest.mark.parametrize("kind", list(itertools.product(PROTOCOLS, ["ok", "unauthenticated", "unavailable"])), ids=str)
@pytest.mark.parametrize("place", ["headers", "variable", "no name", "odd variable", "URL", "query"])
@canaries
def test_a_receivers_own_secret_shows_nothing(canary, kind, place, log, monkeypatch):
    protocol, mode = kind
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with Receiver(protocol, mode, reason=f"not with {LATIN}") as receiver, Emulator() as emulator:
        emulator.create_table(TABLE, "id BIGINT")
        address = receiver.endpoint.removeprefix("http://")
        if place == "headers":
            telemetry = Telemetry(endpoint=receiver.endpoint, headers={"api-key": canary}, flush_timeout=2.0)
        else:
            telemetry = Telemetry(flush_timeout=2.0)
            url = {"URL": f"http://user:{quote(canary)}@{address}", "query": f"http://{address}/?token={quote(canary)}"}
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url.get(place, receiver.endpoint))
            value = {
                "variable": f"api-key={quote(canary)}",
                "no name": canary,
                "odd variable": f"{canary} and {canary},api-key={canary}",
            }
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", value.get(place, ""))
        send_with_telemetry(emulator, emulator.client_secret, telemetry)
        for body in receiver.seen.raw:
            assert_hidden(canary, body.decode("utf-8", "replace"))
    assert_hidden(canary, log())
