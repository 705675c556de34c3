"""The command ``beam-zerobus gateway`` as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from beam_zerobus.emulator import Emulator

COMMAND = (sys.executable, "-c", "import sys; from beam_zerobus.cli import main; sys.exit(main())", "gateway")


@contextmanager
def process(
    emulator: Emulator, *arguments: str, port: int = 0, data_limit: int = 0
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command, with as many bytes of data as `ulimit -d` allows; give the process and its location."""
    command = [*COMMAND, "--port", str(port), "--stop-timeout", "10", *arguments]
    if data_limit:
        command = ["sh", "-c", f'ulimit -d {data_limit // 1024}; exec "$@"', "sh", *command]
    environment = {
        **os.environ,
        "ZEROBUS_ENDPOINT": emulator.endpoint,
        "DATABRICKS_HOST": emulator.workspace_url,
        "DATABRICKS_CLIENT_ID": emulator.client_id,
        "DATABRICKS_CLIENT_SECRET": emulator.client_secret,
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as run:
        try:
            assert run.stdout is not None
            line = run.stdout.readline()
            assert line.startswith("Gateway at grpc://"), line
            yield run, line.split()[2].rstrip(",")
        finally:
            if run.poll() is None:
                run.kill()
