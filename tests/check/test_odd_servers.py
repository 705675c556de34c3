"""Checks against servers that answer in another form, with a wrong clock or an unknown certificate."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from beam_zerobus.check.access import check_clock, check_grants
from beam_zerobus.check.addresses import check_reachable
from beam_zerobus.check.report import Findings

TABLE = "main.iot.air"


@contextmanager
def workspace_that_answers(body: str = "", date: str = "") -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Date", date)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("odd", [None, 5, "text", [1], {"a": 1}])
@pytest.mark.parametrize(
    "body", ["%s", '{"privilege_assignments": %s}', '{"privilege_assignments": [{"privileges": %s}]}']
)
def test_privileges_in_another_form_are_no_privileges(body, odd):
    findings = Findings(TABLE)
    with workspace_that_answers(body % json.dumps(odd)) as url:
        check_grants(findings, url, TABLE, "1234", {})
    found = findings.report().findings
    assert len(found) == 4
    assert {finding.status for finding in found} <= {"skip", "fail"}


@pytest.mark.parametrize("zone", ["GMT", "-0000", ""])
def test_a_wrong_clock(zone):
    findings = Findings(TABLE)
    with workspace_that_answers(date=f"Thu, 01 Jan 2026 00:00:00 {zone}") as url:
        check_clock(findings, url)
    [finding] = findings.report().findings
    assert finding.status == "fail"
    assert "s fast" in finding.message


def test_a_certificate_that_nobody_signed(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection, _ = server.accept()
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                connection.close()

        threading.Thread(target=accept, daemon=True).start()
        findings = Findings(TABLE)
        check_reachable(findings, "endpoint", f"https://localhost:{server.getsockname()[1]}")
    [finding] = findings.report().findings
    assert finding.status == "fail"
    assert "certificate of localhost is not valid here" in finding.message
