"""``beam-zerobus replay-calls``: sends a recording to an emulator and reports where the answers differ."""

from __future__ import annotations

import argparse
import math
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from beam_zerobus.emulator.emulator import Emulator
from beam_zerobus.emulator.recording.lines import read_head, read_lines
from beam_zerobus.emulator.recording.replay import Outcome, Replay, Target
from beam_zerobus.errors import ConfigurationError, counted
from beam_zerobus.options.flags import CommandParser
from beam_zerobus.options.urls import check_url

__all__ = ["main", "target_of"]

_CONNECT_SECONDS = 10.0

_VARIABLES = {
    "endpoint": "ZEROBUS_ENDPOINT",
    "workspace_url": "DATABRICKS_HOST",
    "client_id": "DATABRICKS_CLIENT_ID",
    "client_secret": "DATABRICKS_CLIENT_SECRET",
    "control_token": "ZEROBUS_CONTROL_TOKEN",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Send a recording.

    Args:
        argv: The arguments; None means those of the process.

    Returns:
        0 if everything was sent and every answer is the recorded one, else 1; 2 if an argument or the file is wrong,
        with the reason on standard error.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        if not 0 <= options.speed < math.inf:
            raise ConfigurationError(f"--speed {options.speed}: set a number of at least 0")
        head = read_head(options.file)
        with ExitStack() as stack:
            if options.running:
                target = _running(head["client_id"])
                _check_answers(target)
            else:
                emulator = stack.enter_context(
                    Emulator(
                        options.storage_dir,
                        client_id=head["client_id"],
                        token_life=head["token_life"],
                        readable_after=head["readable_after"],
                        max_partitions=head["max_partitions"],
                        in_development=head["in_development"],
                    )
                )
                target = target_of(emulator)
            outcome = Replay(target, speed=options.speed).run(read_lines(options.file))
    except ConfigurationError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)  # noqa: T201 - this is the command
        return 2
    print(_report(outcome))  # noqa: T201
    return 0 if outcome.is_same else 1


def target_of(emulator: Emulator) -> Target:
    """Return an emulator of this process as the target of a replay."""
    return Target(
        endpoint=emulator.endpoint,
        workspace_url=emulator.workspace_url,
        client_id=emulator.client_id,
        client_secret=emulator.client_secret,
        control_token=emulator.control_token,
        ca_file=emulator.ca_file,
        lives={"kill": emulator.kill, "stop": emulator.stop, "start": emulator.start},
    )


def _running(client_id: str) -> Target:
    missing = [variable for variable in _VARIABLES.values() if not os.environ.get(variable)]
    if missing:
        raise ConfigurationError(f"--running: set {', '.join(missing)}, as beam-zerobus emulator prints them")
    found = {name: os.environ[variable] for name, variable in _VARIABLES.items()}
    if found["client_id"] != client_id:
        raise ConfigurationError(f"--running: start the emulator with --client-id {client_id}, that of the recording")
    ca_file = os.environ.get("SSL_CERT_FILE")
    is_tls = found["endpoint"].startswith("https")
    return Target(
        endpoint=found["endpoint"],
        workspace_url=found["workspace_url"],
        client_id=found["client_id"],
        client_secret=found["client_secret"],
        control_token=found["control_token"],
        ca_file=Path(ca_file) if ca_file and is_tls else None,
    )


def _check_answers(target: Target) -> None:
    """Check that a running emulator is there, before each call of the recording fails.

    Raises:
        ConfigurationError: It is not, or has another control token.
    """
    remedy = "start beam-zerobus emulator, and paste the lines that it prints"
    for field, url in (("endpoint", target.endpoint), ("workspace_url", target.workspace_url)):
        check_url(url, name=_VARIABLES[field], example="http://127.0.0.1:8080", credentials="DATABRICKS_CLIENT_SECRET")
        parts = urlsplit(url)
        address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        try:
            socket.create_connection(address, _CONNECT_SECONDS).close()
        except OSError:
            message = f"--running: nothing listens at {url} ({_VARIABLES[field]})"
            raise ConfigurationError(f"{message}: {remedy}") from None
    if not Replay(target).is_accepted():
        raise ConfigurationError(
            f"--running: {target.workspace_url} is not the address of an emulator with this ZEROBUS_CONTROL_TOKEN: "
            f"{remedy}"
        )


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="beam-zerobus replay-calls",
        description=(
            "Send the calls of a recording (beam-zerobus emulator --record) to a new emulator, in their order, "
            "with their faults, and report where its answers differ. Exit code: 0 if none does, 1 if one does or a "
            "call cannot be sent, 2 after an error."
        ),
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the recording")
    parser.add_argument(
        "--speed",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="how many times faster than recorded; 0 sends without pauses (default: %(default)s)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--storage-dir", metavar="DIR", help="keep the tables there (default: temporary)")
    where.add_argument(
        "--running",
        action="store_true",
        help=f"send to the emulator that the environment names: {', '.join(_VARIABLES.values())}",
    )
    return parser


def _report(outcome: Outcome) -> str:
    sent = (
        f"Sent {counted(outcome.requests, 'request')}, {counted(outcome.streams, 'stream')} "
        f"with {counted(outcome.messages, 'message')}"
    )
    lines = [*outcome.differences]
    if outcome.left_out:
        lines.append(f"{counted(outcome.left_out, 'call')} not sent: the mask left the body out")
    count = len(outcome.differences)
    lines.append(f"{sent}; {counted(count, 'answer', 'differs')} from the recording")
    return "\n".join(lines)
