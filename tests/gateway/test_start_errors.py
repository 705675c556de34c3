"""What keeps ``beam-zerobus gateway`` from starting: each message names the setting and the remedy, once."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from beam_zerobus.gateway.command import run

GIVES_WHY = pytest.mark.skipif(sys.platform != "linux", reason="the words are those of Linux")
DRY = "[defaults]\ndry_run = true\nschema = 'id BIGINT'\n"
TABLE = "[tables.'main.iot.air']\n"


class Start(NamedTuple):
    """A start that fails: flags, variables without their prefix, what the file has beside a dry run, and what is said.

    DIR is an empty directory with a file ``x.pem``, which is no PEM file; TAKEN is a port that is in use.
    """

    said: str
    flags: str = ""
    file: str = ""
    environment: str = ""


NO_PEM = (
    "tls_certificate='DIR/x.pem' and tls_key='DIR/x.pem' cannot be used: not a PEM file; name PEM files of a "
    "certificate and its own key, without a password"
)
NOT_WRITTEN = "cannot be written: File exists; name a directory that this user may write, or leave it out"
STARTS = [
    # Ports and addresses.
    Start("port=TAKEN cannot be used on 127.0.0.1: Address already in use; choose another port", "--port TAKEN"),
    Start(
        "health_port=TAKEN cannot be used on 127.0.0.1: Address already in use; choose another port",
        "--health-port TAKEN",
    ),
    Start("health_port=18815 is the port of Arrow Flight too: choose another port", "--port 18815 --health-port 18815"),
    Start("port=70000: set a whole number from 0 to 65535", "--port 70000"),
    Start("argument --port: invalid int value: 'x'; see --help", "--port x"),
    Start("host (of type str): give text that is not empty", file="[gateway]\nhost = ''\n"),
    Start(
        "host='0.0.0.0' is not loopback: it needs tls_certificate and tls_key, and a token or tls_client_ca",
        "--host 0.0.0.0",
    ),
    Start("host='0.0.0.0' is not loopback: it needs tls_certificate and tls_key", "--host 0.0.0.0", "", "TOKEN=x"),
    # Certificates and tokens.
    Start("tls_certificate and tls_key belong together: give both", "--tls-certificate DIR/x.pem"),
    Start(
        "tls_certificate='DIR/y.pem' is not a file: name a PEM file",
        "--tls-certificate DIR/y.pem --tls-key DIR/x.pem",
    ),
    Start(NO_PEM, "--tls-certificate DIR/x.pem --tls-key DIR/x.pem"),
    Start("tls_client_ca needs tls_certificate and tls_key: give both", "--tls-client-ca DIR/x.pem"),
    Start("token is empty: check where it is read from", environment="TOKEN="),
    Start("token begins or ends with a blank, which no client can send: remove it", environment="TOKEN= x"),
    Start(
        "--token-env names the variable NONE, which is not set: set it, or leave --token-env out", "--token-env NONE"
    ),
    Start(
        "[gateway] holds no secret: leave 'token' out, and set the variable ZEROBUS_GATEWAY_TOKEN",
        file="[gateway]\ntoken = 'x'\n",
    ),
    # Limits, variables, the file.
    Start("max_calls=0: set a whole number of at least 1", "--max-calls 0"),
    Start("stop_timeout=0.0: set seconds above 0 and at most 86400, which is a day", "--stop-timeout 0"),
    Start("only_listed_tables is set, and no table is listed: list some, or leave it out", "--only-listed-tables"),
    Start("$ZEROBUS_GATEWAY_MAX_CALLS: write a number (int)", environment="MAX_CALLS=many"),
    Start("$ZEROBUS_GATEWAY_ONLY_LISTED_TABLES: write true or false", environment="ONLY_LISTED_TABLES=1"),
    Start(
        "$ZEROBUS_GATEWAY_HEALTH_PORT: Kubernetes has set it for a Service of this name: set enableServiceLinks: false "
        "in the pod, or name the Service otherwise",
        environment="HEALTH_PORT=tcp://10.0.0.1:80",
    ),
    Start(
        "DIR/y.toml cannot be read (No such file or directory): check its name, and that you may read it",
        "--config DIR/y.toml",
    ),
    Start("DIR/gateway.toml cannot be read as TOML: Invalid statement (at line 4, column 1); correct it", file="= 5\n"),
    Start("DIR/gateway.toml has no option 'others': use defaults, gateway, tables", file="[others]\n"),
    Start("[gateway] has no option 'prot': did you mean 'port'?", file="[gateway]\nprot = 1\n"),
    # Directories.
    Start(f"dead_letters='DIR/x.pem/a' {NOT_WRITTEN}", "--dead-letters DIR/x.pem/a"),
    Start(
        "dead_letters='s3://bucket/a' is not a local directory: name one, or leave it out",
        "--dead-letters s3://bucket/a",
    ),
    Start(
        f"all tables: debug_files.output_dir='DIR/x.pem/a' {NOT_WRITTEN}",
        file="debug_files = { output_dir = 'DIR/x.pem/a' }\n",
    ),
    Start(
        f"all tables: telemetry.output_dir='DIR/x.pem/a' {NOT_WRITTEN}",
        file="telemetry = { output_dir = 'DIR/x.pem/a' }\n",
    ),
    # Options of tables.
    Start("[defaults] has no option 'wire_fromat': did you mean 'wire_format'?", file="wire_fromat = 'arrow'\n"),
    Start('defaults: wire_format=\'avro\': use "proto", "arrow" or "json"', file="wire_format = 'avro'\n"),
    Start("[defaults] retry is not a table of TOML: write retry = { max_retries = ... }", file="retry = 5\n"),
    Start("[defaults] retry.max_retries=-1: set a whole number of at least 0", file="retry = { max_retries = -1 }\n"),
    Start(
        "[defaults] retry has no option 'max_retires': did you mean 'max_retries'?",
        file="retry = { max_retires = 1 }\n",
    ),
    Start("[defaults] debug_files needs output_dir: add it", file="debug_files = { arrow = true }\n"),
    Start(
        "[defaults] telemetry.endpoint is not an http(s) URL, as it does not begin with https:// or http://: write it "
        "as http://collector:4317",
        file="telemetry = { endpoint = 'x' }\n",
    ),
    Start(
        "[defaults] credentials is not a table of TOML: write credentials = { client_id_env = ... }",
        file="credentials = 'x'\n",
    ),
    Start(
        "[defaults] credentials: give client_id_env and client_secret_env, or profile alone", file="credentials = {}\n"
    ),
    Start(
        "tables has 'air': write the whole name in quotes, such as [tables.\"main.iot.air_quality\"]",
        file="[tables.air]\n",
    ),
    Start(
        "table a.b: table='a.b' has 2 parts: write it as 'catalog.schema.table'",
        file="[tables.'a.b']\n",
    ),
    Start(
        'table main.iot.air: wire_format=\'avro\': use "proto", "arrow" or "json"',
        file=f"{TABLE}wire_format = 'avro'\n",
    ),
    Start(
        "[tables.'main.iot.air'] retry.max_retries=-1: set a whole number of at least 0",
        file=f"{TABLE}retry = {{ max_retries = -1 }}\n",
    ),
    Start(
        "table main.iot.AIR is listed twice, as main.iot.air is the same: remove one",
        file=f"{TABLE}[tables.'main.iot.AIR']\n",
    ),
]


@pytest.fixture
def start(tmp_path: Path, monkeypatch, capsys) -> Callable[[Start], tuple[int, str]]:
    """Run the command with a start's settings; return its exit code and what it said."""
    (tmp_path / "x.pem").write_text("x")

    def start(given: Start) -> tuple[int, str]:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            places = {"DIR": str(tmp_path), "TAKEN": str(taken.getsockname()[1])}

            def in_place(text: str) -> str:
                for name, place in places.items():
                    text = text.replace(name, place)
                return text

            file = tmp_path / "gateway.toml"
            file.write_text(DRY + in_place(given.file))
            if given.environment:
                name, _, value = given.environment.partition("=")
                monkeypatch.setenv(f"ZEROBUS_GATEWAY_{name}", value)
            try:
                code = run(["--config", str(file), "--port", "0", *in_place(given.flags).split()])
            except SystemExit as end:
                code = int(end.code or 0)
            said = capsys.readouterr().err
            for name, place in places.items():
                said = said.replace(place, name)
            return code, said

    return start


@GIVES_WHY
@pytest.mark.parametrize("given", STARTS, ids=lambda given: given.said[:40])
def test_each_fault_names_the_setting_and_the_remedy(start, given):
    assert start(given) == (2, f"beam-zerobus gateway: {given.said}\n")


@GIVES_WHY
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            Start("", "--port TAKEN --dead-letters DIR/x.pem/a --tls-certificate DIR/x.pem --tls-key DIR/x.pem"),
            [
                "port=TAKEN cannot be used on 127.0.0.1: Address already in use; choose another port",
                NO_PEM,
                f"dead_letters='DIR/x.pem/a' {NOT_WRITTEN}",
            ],
        ),
        (
            Start("", "--host no..host --tls-certificate DIR/x.pem --tls-key DIR/x.pem", environment="TOKEN=x"),
            ["host='no..host' is not known: give an address of this machine", NO_PEM],
        ),
    ],
)
def test_several_faults_are_a_list(start, given, said):
    listed = "".join(f"- {fault}\n" for fault in said)
    assert start(given) == (2, f"beam-zerobus gateway: {len(said)} of the gateway's settings are wrong:\n{listed}")
