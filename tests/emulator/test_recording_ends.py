"""How recordings begin and end: starts that fail, and calls on which the emulator fails."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest

from beam_zerobus.emulator import Emulator, EmulatorProcess
from beam_zerobus.emulator.__main__ import main
from beam_zerobus.emulator.host import Host
from beam_zerobus.emulator.recording.interceptor import RecordingInterceptor
from beam_zerobus.emulator.recording.lines import read_lines
from beam_zerobus.errors import ConfigurationError

from .otlp_calls import call_grpc
from .sdk import RawStream
from .test_persistent import retire

TABLE = "main.iot.air"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.jsonl"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize(
    "wrong",
    [
        ["--table", "air=id INT"],
        ["--table", f"{TABLE}=id WRONG"],
        ["--table", f"{TABLE}=id INT", "--seed", f"{TABLE}=none.csv"],
        ["--otlp", "main"],
        ["--port", "{port}"],
        ["--http-port", "{port}"],
    ],
)
def test_a_start_that_fails_leaves_no_recording(
    path: Path, wrong: list[str], emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    port = str(urlsplit(emulator.endpoint).port)
    arguments = [argument.format(port=port) for argument in wrong]
    for _ in range(2):
        assert main(["--memory", "--record", str(path), *arguments]) == 2
        assert "exists" not in capsys.readouterr().err
        assert not path.exists()
    with pytest.raises(ConfigurationError, match="cannot be opened"), Emulator(port=int(port), record_to=path):
        pass
    assert not path.exists()


def test_a_process_that_fails_to_start_leaves_no_recording(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"catalog.schema.table"):
        EmulatorProcess(tables={"air": "id INT"}, memory=True, record_to=path).start()
    assert not path.exists()


def test_a_recording_without_a_call_is_kept(path: Path) -> None:
    with Emulator(memory=True, record_to=path):
        pass
    assert [line["kind"] for line in read_lines(path)] == ["request", "answer", "start", "stop"]


@pytest.mark.parametrize("way", ["stream", "retire", "otlp"])
def test_a_failure_of_the_emulator_is_a_status_also_in_the_recording(
    path: Path, monkeypatch: pytest.MonkeyPatch, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of the emulator")

    def call() -> None:
        if way == "stream":
            with RawStream(emulator, TABLE, "token") as stream:
                stream.create(TABLE)
                stream.receive()
        elif way == "retire":
            retire(emulator, "x", TABLE)
        else:
            call_grpc(emulator, "traces", b"", {"authorization": "Bearer token"})

    with Emulator(memory=True, record_to=path, in_development=True) as emulator:
        emulator.create_table(TABLE, "id INT")
        monkeypatch.setattr(Host, "authenticate", fail)
        with pytest.raises(grpc.RpcError) as raised:
            call()
        found = raised.value.code().name, raised.value.details()
    (end,) = (line for line in read_lines(path) if line["kind"] == "end")
    assert (end["by"], end["code"], end["message"]) == ("server", *found)
    assert found == ("INTERNAL", "the emulator failed: RuntimeError")
    assert "a fault of the emulator" in caplog.text


@pytest.mark.parametrize("kind", ["stream", "unary"])
def test_a_handler_that_raises_is_not_recorded_as_ok(path: Path, kind: str) -> None:
    def unary(request: bytes, context: grpc.ServicerContext) -> bytes:
        raise RuntimeError

    def stream(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield b"first"
        raise RuntimeError

    with Emulator(memory=True, record_to=path) as emulator:
        method = (
            grpc.stream_stream_rpc_method_handler(stream)
            if kind == "stream"
            else grpc.unary_unary_rpc_method_handler(unary)
        )
        server = grpc.server(ThreadPoolExecutor(1), interceptors=[RecordingInterceptor(emulator._host.recorder)])
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("x.Y", {"Z": method})])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            answer = (
                channel.stream_stream("/x.Y/Z")(iter([b"1"])) if kind == "stream" else channel.unary_unary("/x.Y/Z")
            )
            with pytest.raises(grpc.RpcError) as raised:
                list(answer if kind == "stream" else answer(b"1"))
        assert raised.value.code() is grpc.StatusCode.UNKNOWN
        server.stop(None).wait()
    (end,) = (line for line in read_lines(path) if line["kind"] == "end")
    assert (end["by"], end["code"]) == ("server", "UNKNOWN")
