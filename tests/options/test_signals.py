"""Every signal that ends a process is handled alike, also the one that only Windows has."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from beam_zerobus.options.signals import ending_signals

# A process in which SIGUSR1 is what SIGBREAK is on Windows.
WITH_SIGBREAK = (
    "import signal, sys; signal.SIGBREAK = signal.SIGUSR1; from beam_zerobus.cli import main; sys.exit(main())"
)
DRY_GATEWAY = "[defaults]\ndry_run = true\nschema = 'id BIGINT'\n"


def test_the_signals_of_this_system():
    expected = [signal.SIGINT, signal.SIGTERM]
    assert ending_signals() == (expected if sys.platform != "win32" else [*expected, signal.SIGBREAK])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to another process")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
@pytest.mark.parametrize("command", ["gateway", "emulator"])
def test_a_server_ends_at_each_of_them(command, name, tmp_path):
    (tmp_path / "gateway.toml").write_text(DRY_GATEWAY)
    arguments = {
        "gateway": ["--port", "0", "--config", str(tmp_path / "gateway.toml")],
        "emulator": ["--port", "0", "--http-port", "0"],
    }[command]
    with subprocess.Popen(
        [sys.executable, "-c", WITH_SIGBREAK, command, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()  # it serves
        process.send_signal(getattr(signal, name))
        assert process.wait(30) == 0
