"""Against a real HTTP server on a free port; each test sets its answer."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from beam_zerobus.errors import (
    AuthenticationError,
    ConfigurationError,
    ConversionError,
    RejectedError,
    TransientError,
)
from beam_zerobus.schema import TableSchema
from beam_zerobus.workspace.unity_catalog import fetch_table_schema

TABLE = "main.iot.air_quality"
SCHEMA = TableSchema.from_ddl("id BIGINT NOT NULL, tags ARRAY<STRING>, at TIMESTAMP COMMENT 'when'")


class Workspace:
    def __init__(self):
        self.status, self.body, self.requests = 200, b"{}", []
        workspace = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                workspace.requests.append((self.path, dict(self.headers)))
                self.send_response(workspace.status)
                if workspace.status == 302:
                    self.send_header("Location", "/login")
                self.send_header("Content-Length", str(len(workspace.body)))
                self.end_headers()
                self.wfile.write(workspace.body)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, status, body):
        self.status, self.body = status, body if isinstance(body, bytes) else json.dumps(body).encode()

    def fetch(self):
        return fetch_table_schema(self.url, TABLE, headers={"authorization": "Bearer s3cret-token"}, timeout=30)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def workspace():
    workspace = Workspace()
    yield workspace
    workspace.close()


def test_columns_are_read_as_they_were_described(workspace):
    workspace.answer(
        200, {"columns": SCHEMA.to_unity_catalog(), "table_type": "MANAGED", "data_source_format": "DELTA", "name": "x"}
    )
    assert workspace.fetch() == SCHEMA
    path, headers = workspace.requests[0]
    assert path == "/api/2.1/unity-catalog/tables/main.iot.air_quality"
    assert headers["authorization"] == "Bearer s3cret-token"


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (401, {}, AuthenticationError, "credentials"),
        (403, {}, AuthenticationError, "USE SCHEMA on main.iot"),
        (404, {}, ConfigurationError, "SELECT and MODIFY on main.iot.air_quality"),
        (429, {}, TransientError, "429"),
        (500, b"oops", TransientError, "500"),
        (503, b"", TransientError, "503"),
        (302, b"", ConfigurationError, "check the workspace's URL"),
        (400, {}, ConfigurationError, "400"),
        (200, b"<html>", ConfigurationError, "check the workspace's URL"),
        (200, [], ConfigurationError, "check the workspace's URL"),
        (200, {}, ConversionError, "no list of columns"),
        (200, {"columns": [], "table_type": "MANAGED"}, ConfigurationError, "no column"),
        (200, {"columns": [{"name": "x", "type_json": '"interval day"'}]}, ConversionError, "'x'"),
        (200, {"columns": SCHEMA.to_unity_catalog(), "table_type": "VIEW"}, RejectedError, "VIEW"),
        (200, {"columns": SCHEMA.to_unity_catalog(), "data_source_format": "ICEBERG"}, RejectedError, "ICEBERG"),
    ],
)
def test_each_failure_has_its_class_and_names_the_remedy(workspace, status, body, error, says):
    workspace.answer(status, body)
    with pytest.raises(error) as caught:
        workspace.fetch()
    assert type(caught.value) is error
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert len(workspace.requests) == 1


def test_a_workspace_that_cannot_be_reached_is_transient():
    with socket.socket() as bound_but_not_listening:
        bound_but_not_listening.bind(("127.0.0.1", 0))
        port = bound_but_not_listening.getsockname()[1]
        with pytest.raises(TransientError, match="could not be reached"):
            fetch_table_schema(f"http://127.0.0.1:{port}", TABLE, headers={}, timeout=5)


def test_the_table_is_named_where_the_columns_do_not_fit(workspace):
    workspace.answer(200, {"columns": [{"name": "a b", "type_json": '"long"'}]})
    with pytest.raises(ConfigurationError, match=r"table main\.iot\.air_quality: column 'a b'"):
        workspace.fetch()
