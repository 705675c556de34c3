"""What the programs show while they run, on a terminal of 80 columns."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from rich.console import Console

from beam_zerobus.emulator import Emulator, Faults, ScriptedFault
from beam_zerobus.programs.progress import Totals, progress_line, run_and_report
from tests.runners.support import ROOT, zerobus_environment

TABLE = "main.files.readings"
LARGE = Totals(written=12_345_678_901, failed=Counter({"out_of_range": 1_234_567}))


@pytest.mark.parametrize(
    ("totals", "state", "shown"),
    [
        (Totals(written=1), {"seconds": 0.0}, "1 row written, 0 failed, 5 rows/s"),
        (
            Totals(written=2_000_000),
            {"seconds": 100.0, "read": 0.5},
            "2,000,000 rows written, 0 failed, 50% read, 0:01:40 left, 20,000 rows/s",
        ),
        (
            LARGE,
            {"seconds": 90_000.0, "read": 0.5, "width": 68},
            "12,345,678,901 rows written, 1,234,567 failed, 50% read",
        ),
        (
            LARGE,
            {"seconds": 90_000.0, "read": 0.5, "idle_seconds": 20.4, "width": 68},
            "12,345,678,901 rows written, 1,234,567 failed, none for 20 s",
        ),
        (Totals(), {"seconds": 4.0, "read": 1.0}, "0 rows written, 0 failed, 99% read, 0 rows/s"),
    ],
)
def test_the_line_has_what_is_known_and_fits(totals, state, shown):
    assert progress_line(totals, outcome="written", **state) == shown


def test_what_was_there_before_is_kept_from_the_garbage_collector_only_while_rows_are_sent(tmp_path: Path) -> None:
    noted = tmp_path / "frozen"
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | beam.Create([1]) | beam.Map(lambda _: noted.write_text(str(gc.get_freeze_count())))
    assert run_and_report(pipeline, Console(), dead_letters=None) == 0
    assert gc.get_freeze_count() < int(noted.read_text()) / 10


def test_the_last_line_of_a_failed_run_has_no_counts(capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | beam.Create([0]) | beam.Map(lambda number: 1 // number)
    assert run_and_report(pipeline, Console(), dead_letters=None) == 1
    shown = capsys.readouterr().out
    assert "0 failed" not in shown
    assert "stopped" in shown


@pytest.mark.hostile
def test_an_outage_is_visible_on_a_terminal(zerobus: Emulator, tmp_path: Path) -> None:
    zerobus.create_table(TABLE, "id BIGINT")
    zerobus.faults = Faults(script=(ScriptedFault("reject", at_stream=1, times=9, code="UNAVAILABLE"),))
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"id": n}) + "\n" for n in range(1000)))
    flags = ["--zerobus_initial_backoff=2", "--zerobus_max_backoff=4", "--zerobus_max_retries=20"]
    ended = subprocess.run(
        [sys.executable, "-m", "pipelines.files_to_zerobus", "--input", "in.jsonl", f"--zerobus_table={TABLE}", *flags],
        cwd=tmp_path,
        env={
            **zerobus_environment(zerobus),
            "COLUMNS": "80",
            "FORCE_COLOR": "1",
            "TERM": "xterm",
            "PYTHONPATH": str(ROOT),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=250,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    lines = [line.strip() for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", ended.stdout))]
    assert max(map(len, lines)) <= 80
    shown = " ".join(lines)
    assert re.search(r"0 rows written, 0 failed, none for \d+ s, 99% read \d:\d\d:\d\d", shown)
    assert re.search(r"WARNING: Zerobus has failed for table main\.files\.readings for \d+ s", shown)
    assert any(line.startswith("WARNING: Zerobus works again for main.files.readings after") for line in lines)
    assert "1,000 rows written, 0 failed" in shown
