"""The command line of the emulator: arguments, greeting, and the run until a signal."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, get_args

from beam_zerobus.emulator.control.from_json import read_json
from beam_zerobus.emulator.emulator import Emulator
from beam_zerobus.emulator.faults import FaultKind, Faults, RejectRows, ScriptedFault
from beam_zerobus.emulator.otlp import OTLP_COLUMNS, table_names
from beam_zerobus.emulator.otlp.exports import SIGNALS
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.seeding import seed_from_file
from beam_zerobus.emulator.tables.table import Table
from beam_zerobus.errors import ConfigurationError, ZerobusError, counted
from beam_zerobus.options.flags import CommandParser
from beam_zerobus.options.signals import stop_at_signals, wait_for
from beam_zerobus.schema.ddl import DdlError

__all__ = ["run"]

_TRUST = """
The certificate to trust; the official SDKs read the first variable, Python's
requests the second:
export SSL_CERT_FILE={ca_file}
export REQUESTS_CA_BUNDLE={ca_file}
"""
_EPILOG = """
A table is a name and its columns:
  --table "main.iot.air_quality=device STRING NOT NULL, temp INT, at TIMESTAMP"

The tables of OTLP for traces, logs and metrics:
  --otlp main.otel.shop

A scripted fault is a kind and the arguments of ScriptedFault, as NAME=VALUE:
  --fault "status,at_call=3,code=UNAVAILABLE,after_storing=true"
  --fault "reject,at_stream=1,code=PERMISSION_DENIED"
  --fault "token,at_token=1,times=2,http_status=503"

The process runs until SIGINT or SIGTERM. Acknowledged rows are in the tables
then, and also after SIGKILL.
"""


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="beam-zerobus emulator",
        description="An emulator of Zerobus: clients of the service write to it,\nand their rows are in Delta tables.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    storage = parser.add_argument_group("storage")
    kept = storage.add_mutually_exclusive_group()
    kept.add_argument("--storage-dir", metavar="DIR", help="directory of the Delta tables (default: temporary)")
    kept.add_argument("--memory", action="store_true", help="keep rows in memory, unchecked: for benchmarks")
    kept.add_argument("--discard", action="store_true", help="count rows only: for benchmarks")
    storage.add_argument(
        "--table", metavar="NAME=COLUMNS", action="append", default=[], help="create a table; repeatable"
    )
    storage.add_argument(
        "--otlp",
        metavar="PREFIX",
        action="append",
        default=[],
        help="create the tables of OTLP: PREFIX_otel_spans, PREFIX_otel_logs and PREFIX_otel_metrics; repeatable",
    )
    storage.add_argument(
        "--seed",
        metavar="NAME=FILE",
        action="append",
        default=[],
        help="add the rows of a Parquet, CSV, JSON or JSON lines file to a table that has none; repeatable",
    )
    storage.add_argument(
        "--record",
        metavar="FILE",
        help="record every call into a new file, in a directory if it is one; beam-zerobus replay-calls sends it again",
    )
    storage.add_argument("--mask-values", action="store_true", help="replace the values of rows in the recording")
    storage.add_argument(
        "--readable-after",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="from a row's acknowledgement to the moment when the table has it (default: %(default)s)",
    )
    network = parser.add_argument_group("network")
    network.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; any but loopback needs --tls (default: %(default)s)"
    )
    network.add_argument("--port", type=int, default=0, help="gRPC and Arrow Flight (default: a free one)")
    network.add_argument("--http-port", type=int, default=0, help="token and table endpoints (default: a free one)")
    network.add_argument("--tls", action="store_true", help="serve both ports over TLS, with an authority of its own")
    network.add_argument(
        "--tls-name", metavar="NAME", action="append", default=[], help="another host name of this machine; repeatable"
    )
    network.add_argument(
        "--in-development",
        action="store_true",
        help="serve PersistentStream and RetireStream too, which the service has in development",
    )
    access = parser.add_argument_group("access")
    access.add_argument("--client-id", help="the client that may write (default: generated)")
    access.add_argument("--client-secret", help="its secret (default: generated)")
    access.add_argument("--control-token", help="token of the control API (default: generated)")
    access.add_argument(
        "--token-life",
        type=float,
        default=3600.0,
        metavar="SECONDS",
        help="how long an access token is valid (default: %(default)s)",
    )
    faults = parser.add_argument_group("faults")
    faults.add_argument(
        "--fault",
        metavar="KIND,NAME=VALUE,...",
        action="append",
        default=[],
        help="a scripted fault, as below; repeatable",
    )
    faults.add_argument(
        "--fault-rate", type=float, default=0.0, metavar="CHANCE", help="chance of random faults, 0 to 1"
    )
    faults.add_argument("--fault-seed", type=int, default=0, metavar="N", help="seed of the random faults")
    faults.add_argument(
        "--fault-kinds", metavar="KIND,...", help=f"kinds of random faults, from: {', '.join(get_args(FaultKind))}"
    )
    faults.add_argument(
        "--ack-delay", type=float, default=0.0, metavar="SECONDS", help="delay of every acknowledgement"
    )
    faults.add_argument(
        "--ack-interval",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="least time between acknowledgements of a stream",
    )
    faults.add_argument(
        "--reject", metavar="COLUMN=VALUE", action="append", default=[], help="reject rows with this value; repeatable"
    )
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        help="also end when standard input closes, as it does when the program that started this ends",
    )
    return parser


def _await_end_of_input(stop: threading.Event) -> None:
    """Set the event once standard input is closed."""
    # Not through sys.stdin, whose lock a thread that still reads would hold at the end of the process.
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    stop.set()


def _faults(options: argparse.Namespace) -> Faults:
    chosen: dict[str, Any] = {} if options.fault_kinds is None else {"kinds": tuple(options.fault_kinds.split(","))}
    return Faults(
        script=tuple(_scripted(text) for text in options.fault),
        rate=options.fault_rate,
        seed=options.fault_seed,
        ack_delay=options.ack_delay,
        ack_interval=options.ack_interval,
        reject_rows=tuple(
            RejectRows(column=name, value=_value(value)) for name, value in _pairs("reject", options.reject)
        ),
        **chosen,
    )


def _scripted(text: str) -> ScriptedFault:
    kind, *settings = text.split(",")
    given = {name.strip(): _value(value) for name, value in _pairs("fault", settings)}
    try:
        fault: ScriptedFault = read_json(ScriptedFault, {"kind": kind.strip(), **given})
    except ConfigurationError as error:
        raise ConfigurationError(f"--fault: {error}") from None
    return fault


_PAIRS = {"table": "NAME=COLUMNS", "seed": "NAME=FILE", "fault": "NAME=VALUE", "reject": "COLUMN=VALUE"}


def _pairs(flag: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or (flag == "seed" and not value):
            raise ConfigurationError(f"--{flag} {text!r}: write {_PAIRS[flag]}")
        yield name, value


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def run(argv: Sequence[str] | None = None) -> int:
    """Run the emulator until a signal ends it, or until standard input closes if the arguments say so.

    Args:
        argv: The arguments; None means those of the process.

    Returns:
        The exit code: 0, or 2 if an argument is wrong, with the reason on standard error.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        with ExitStack() as stack:
            emulator = _emulator(options)
            stack.push(emulator)
            _create_tables(emulator, options)
            stop = stop_at_signals()
            for name, file in _pairs("seed", options.seed):
                table = _table(emulator, name.strip())
                if not table.count_rows():  # the rows are there already after a restart
                    _seed(table, Path(file))
            emulator.start()
            print(_greeting(emulator, _where_rows_are(emulator, options)), flush=True)  # noqa: T201 - this is the command
            if options.until_stdin_closes:
                threading.Thread(target=_await_end_of_input, args=(stop,), daemon=True).start()
            wait_for(stop)
    except (ZerobusError, ValueError) as error:
        _complain(parser, str(error))
        return 2
    return 0


def _create_tables(emulator: Emulator, options: argparse.Namespace) -> None:
    if options.otlp:
        try:
            SIGNALS[0].messages()
        except Rejection as error:
            raise ConfigurationError(f"--otlp: {error}") from None
    for name, columns in _pairs("table", options.table):
        try:
            emulator.create_table(name.strip(), columns)
        except DdlError as error:
            raise ConfigurationError(f"--table {name.strip()}: {error}") from None
    for prefix in options.otlp:
        for kind, name in table_names(prefix).items():
            emulator.create_table(name, OTLP_COLUMNS[kind])


def _table(emulator: Emulator, name: str) -> Table:
    try:
        return emulator.table(name)
    except KeyError as error:
        raise ConfigurationError(f"--seed {name}: {error.args[0]}; create it with --table") from None


def _seed(table: Table, file: Path) -> None:
    try:
        seed_from_file(table, file)
    except ConfigurationError as error:
        raise ConfigurationError(f"--seed {table.name}: {error}") from None


def _complain(parser: argparse.ArgumentParser, text: str) -> None:
    print(f"{parser.prog}: {text}", file=sys.stderr)  # noqa: T201 - this is the command


def _emulator(options: argparse.Namespace) -> Emulator:
    if options.record == "":
        raise ConfigurationError("--record is empty: name a new file, or a directory")
    return Emulator(
        options.storage_dir,
        options.memory,
        discard=options.discard,
        client_id=options.client_id,
        client_secret=options.client_secret,
        control_token=options.control_token,
        token_life=options.token_life,
        host=options.host,
        port=options.port,
        http_port=options.http_port,
        faults=_faults(options),
        readable_after=options.readable_after,
        tls=options.tls,
        tls_names=options.tls_name,
        in_development=options.in_development,
        record_to=options.record,
        mask_values=options.mask_values,
    )


def _where_rows_are(emulator: Emulator, options: argparse.Namespace) -> str:
    if options.discard:
        return "Rows are counted and not kept"
    if options.memory:
        return "Rows are kept in memory"
    if options.storage_dir is None:
        return f"Rows are kept in {emulator.storage_dir}, which is removed at the end; --storage-dir DIR keeps them"
    return f"Rows are kept in {emulator.storage_dir}"


def _greeting(emulator: Emulator, rows: str) -> str:
    tables = "\n".join(map(_line, emulator.tables)) or "  none yet"
    first_table = "".join(f"\nexport ZEROBUS_TABLE_NAME={table.name}" for table in emulator.tables[:1])
    trust = "" if emulator.ca_file is None else _TRUST.format(ca_file=emulator.ca_file)
    return f"""\
Emulator at {emulator.endpoint}, workspace at {emulator.workspace_url}
In a browser: {emulator.page_url}
{rows}
Tables:
{tables}

export ZEROBUS_ENDPOINT={emulator.endpoint}
export DATABRICKS_HOST={emulator.workspace_url}
export DATABRICKS_CLIENT_ID={shlex.quote(emulator.client_id)}
export DATABRICKS_CLIENT_SECRET={shlex.quote(emulator.client_secret)}
export DATABRICKS_WAREHOUSE_ID={emulator.warehouse_id}

The same, in the names that the official SDKs' examples read:
export ZEROBUS_SERVER_ENDPOINT={emulator.endpoint}
export DATABRICKS_WORKSPACE_URL={emulator.workspace_url}{first_table}

The control API, described at {emulator.workspace_url}/control/openapi.json:
export ZEROBUS_CONTROL_TOKEN={shlex.quote(emulator.control_token)}
{trust}
Stop with Ctrl-C."""


def _line(table: Table) -> str:
    """Name a table and its columns, in 80 characters where the name allows it."""
    cut = f"... ({counted(len(table.schema.columns), 'column')})"
    room = max(80 - len(f"  {table.name}: "), len("column, ") + len(cut))
    return f"  {table.name}: {textwrap.shorten(table.schema.to_ddl(), room, placeholder=' ' + cut)}"
