"""The emulator as a process of its own, which is killed and started again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from beam_zerobus.emulator.certificates import make_certificates
from tests.forwarding import Address, forwarded
from tests.sdks.payloads import COLUMNS, TABLE

ROOT = Path(__file__).parents[2]
CLIENT_ID, CLIENT_SECRET = "client", "the-secret"
START_SECONDS = 120


def make_authority(directory: Path) -> Path:
    """Make certificates for several emulators, since a client may read those that it trusts only once."""
    make_certificates(directory / "ca.pem", directory / "server.pem", "127.0.0.1", ())
    return directory


def storage_with(authority: Path | None, directory: Path) -> Path:
    """Return the directory, as an emulator's storage that has the certificates."""
    if authority is not None:
        shutil.copytree(authority, directory / ".tls")
    return directory


class ServerProcess:
    """An emulator that keeps its ports and its storage over SIGKILL.

    The workspace has an address of its own in front, closed before the kill: the official clients take a request for a
    token that is cut off for a final error (the case `token-cut`), and one process would cut off both at once.

    Args:
        directory: An empty directory for the case.
        authority: Certificates for TLS; None for plain text.
    """

    client_id, client_secret = CLIENT_ID, CLIENT_SECRET

    def __init__(self, directory: Path, authority: Path | None) -> None:
        self._storage = storage_with(authority, directory / "storage")
        self._tls = () if authority is None else ("--tls",)
        self._log = directory / "emulator.log"
        self._ports: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._workspace = ExitStack()
        self._workspace_address: Address = ("127.0.0.1", 0)

    def start(self) -> None:
        """Start the process; return once it listens."""
        self._log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "beam_zerobus.emulator", "--storage-dir", str(self._storage)]
        command += ["--table", f"{TABLE}={COLUMNS}", "--client-id", CLIENT_ID, "--client-secret", CLIENT_SECRET]
        # A delay leaves calls unacknowledged at the moment of the kill.
        command += ["--ack-delay", "0.3", *self._tls, *self._ports]
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"}, stdout=output, stderr=subprocess.STDOUT
            )
        self.endpoint, behind = self._addresses()
        port = behind.rpartition(":")[2]
        self._ports = ("--port", self.endpoint.rpartition(":")[2], "--http-port", port)
        self._workspace_address = self._workspace.enter_context(
            forwarded(self._workspace_address, ("127.0.0.1", int(port)))
        )
        self.workspace_url = f"{urlsplit(behind).scheme}://127.0.0.1:{self._workspace_address[1]}"

    def _addresses(self) -> tuple[str, str]:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            text = self._log.read_text()
            found = [re.search(rf"{name}=(https?://\S+)", text) for name in ("ZEROBUS_ENDPOINT", "DATABRICKS_HOST")]
            if all(found):
                return tuple(match[1] for match in found if match)  # type: ignore[return-value]
            if self._process is not None and self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"the emulator did not start: {self._log.read_text()[-500:]}")

    def kill(self) -> None:
        """End the process with SIGKILL."""
        self._workspace.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)

    @property
    def table_path(self) -> Path:
        """The directory of the table, as its transaction log shows."""
        [log] = self._storage.rglob("_delta_log")
        return log.parent
