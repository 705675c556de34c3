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
CLI = "import sys; from beam_zerobus.cli import main; sys.exit(main())"
NO_SIGNALS = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to another process")
DRY_GATEWAY = "[defaults]\ndry_run = true\nschema = 'id BIGINT'\n"


def test_the_signals_of_this_system():
    expected = [signal.SIGINT, signal.SIGTERM]
    assert ending_signals() == (expected if sys.platform != "win32" else [*expected, signal.SIGBREAK])


@NO_SIGNALS
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


def ignoring(name: str, command: list[str]) -> list[str]:
    """Return a command that begins with a signal ignored, as a shell that is not interactive starts it with ``&``."""
    return ["sh", "-c", f'trap "" {name.removeprefix("SIG")}; exec "$@"', "sh", *command]


@NO_SIGNALS
@pytest.mark.parametrize(("name", "other"), [("SIGINT", "SIGTERM"), ("SIGTERM", "SIGINT")])
def test_a_signal_that_is_ignored_from_the_start_stays_ignored_by_a_server(name, other, tmp_path):
    (tmp_path / "gateway.toml").write_text(DRY_GATEWAY)
    command = [sys.executable, "-c", CLI, "gateway", "--port", "0", "--config", str(tmp_path / "gateway.toml")]
    with subprocess.Popen(ignoring(name, command), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()  # it serves
        process.send_signal(getattr(signal, name))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        process.send_signal(getattr(signal, other))
        assert process.wait(30) == 0


@NO_SIGNALS
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_that_is_ignored_from_the_start_stays_ignored_by_a_program(name):
    # Beam's job servers install a handler of their own between the two calls.
    script = (
        "import signal; from beam_zerobus.options.signals import interrupt_at_signals\n"
        f"interrupt_at_signals(); signal.signal(signal.{name}, signal.default_int_handler); interrupt_at_signals()\n"
        f"signal.raise_signal(signal.{name}); print('ignored')"
    )
    done = subprocess.run(ignoring(name, [sys.executable, "-c", script]), capture_output=True, text=True, check=True)
    assert done.stdout == "ignored\n"
