"""Which variables make the SDK use a proxy, and that `check` knows the same ones."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

import pytest

os.environ.setdefault("RUST_LOG", "off")

from zerobus.sdk.sync import HeadersProvider, RecordType, StreamConfigurationOptions, TableProperties, ZerobusSdk
from zerobus.sdk.sync import ZerobusException as SdkError

from beam_zerobus.check.addresses import check_reachable
from beam_zerobus.check.report import Findings

HOSTS = (f"host-{number}.invalid" for number in count())  # the SDK reads the variables once for each address
ENDPOINT_PROXIES = ["grpc_proxy", "GRPC_PROXY", "https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY"]


class Headers(HeadersProvider):
    def get_headers(self) -> list[tuple[str, str]]:
        return [("authorization", "Bearer x"), ("x-databricks-zerobus-table-name", "main.iot.air")]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that closes every connection; its URL, and the first line of each."""
    lines: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # the end of the test
                return
            with connection:
                lines.append(connection.recv(200).split(b"\r\n")[0])

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", lines
        with suppress(OSError):  # Windows shuts down no socket that listens; closing it ends the wait
            server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.mark.parametrize("variable", [*ENDPOINT_PROXIES, "all_proxy", "ALL_PROXY"])
def test_check_and_sdk_agree_on_the_proxy_of_the_endpoint(
    monkeypatch: pytest.MonkeyPatch, proxy: tuple[str, list[bytes]], variable: str
) -> None:
    url, lines = proxy
    monkeypatch.setenv(variable, url)
    host = next(HOSTS)
    options = StreamConfigurationOptions(record_type=RecordType.JSON, recovery=False, recovery_timeout_ms=5_000)
    with pytest.raises(SdkError):
        ZerobusSdk(f"https://{host}:9", "https://workspace.invalid").create_stream(
            "", "", TableProperties("main.iot.air"), options, headers_provider=Headers()
        )
    uses_it = variable in ENDPOINT_PROXIES
    assert (f"CONNECT {host}:9 HTTP/1.1".encode() in lines) is uses_it
    findings = Findings("main.iot.air")
    check_reachable(findings, "endpoint", f"https://{host}:9")
    [finding] = findings.report().findings
    assert finding.status == ("skip" if uses_it else "fail")
    # In any case of letters, which Windows does not distinguish in names of variables.
    assert (f"{variable} is set".lower() in finding.message.lower()) is uses_it


@pytest.mark.parametrize(
    ("variable", "status"), [("https_proxy", "skip"), ("ALL_PROXY", "skip"), ("grpc_proxy", "fail")]
)
def test_the_proxy_of_the_workspace(monkeypatch: pytest.MonkeyPatch, variable: str, status: str) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    findings = Findings("main.iot.air")
    check_reachable(findings, "workspace", "https://workspace.invalid")
    assert [finding.status for finding in findings.report().findings] == [status]
