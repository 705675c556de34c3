"""Plays a user's first hour from the docs' own blocks, in a fresh clone with a virtual environment of its own.

    make first-hour

Clone, quickstart, own table in the emulator, own rows of each kind, files with a bad row, its dead letter
corrected and sent again, debug files inspected. Each step is printed with its seconds. Python, make and git are enough.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TIMEOUT_SECONDS = 600
ADDRESSES = ("ZEROBUS_ENDPOINT", "DATABRICKS_HOST", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET")

# A user's own rows: the README's example with its list replaced by each other kind of element.
ROWS_OF_EACH_KIND = """
import dataclasses, json, typing
import apache_beam as beam
import pyarrow as pa

class Reading(typing.NamedTuple):
    device: str
    co2: int

@dataclasses.dataclass
class Measured:
    device: str
    co2: int

kinds = {
    "dict": {"device": "dict", "co2": 1},
    "Row": beam.Row(device="Row", co2=2),
    "NamedTuple": Reading("NamedTuple", 3),
    "dataclass": Measured("dataclass", 4),
    "str": json.dumps({"device": "str", "co2": 5}),
    "bytes": json.dumps({"device": "bytes", "co2": 6}).encode(),
    "RecordBatch": pa.record_batch({"device": ["RecordBatch"], "co2": [7]}),
    "Table": pa.table({"device": ["Table"], "co2": [8]}),
}
example = open("example.py").read()
start, end = example.index("beam.Create("), example.index("])") + 2
for kind, element in kinds.items():
    exec(example[:start] + "beam.Create([element])" + example[end:], {"element": element})
    print("sent", kind)
"""
KINDS = ("dict", "Row", "NamedTuple", "dataclass", "str", "bytes", "RecordBatch", "Table")

WRITE_FILES = """
import gzip, os
import pyarrow as pa
from pyarrow import parquet
os.mkdir("readings")
rows = {"device": ["garden", "corrected"], "co2": [410, 99_999_999_999]}
parquet.write_table(pa.table(rows), "readings/a.parquet")
with gzip.open("readings/b.csv.gz", "wt") as file:
    file.write("device,co2\\nkitchen,800\\n")
"""

PRINT_TABLE = """
from deltalake import DeltaTable
rows = DeltaTable("tables/main/iot/air_quality").to_pyarrow_dataset().to_table(use_threads=False)
print(sorted(set(rows["device"].to_pylist())))
"""


class Hour:
    """The commands that the user types, each with its seconds."""

    def __init__(self, directory: Path) -> None:
        self.seconds = 0.0
        self.clone = directory / "clone"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        for name in ADDRESSES:
            kept.pop(name, None)
        self.environment = {**kept, "PATH": os.pathsep.join((str(self.clone / ".venv" / "bin"), os.environ["PATH"]))}

    def run(self, what: str, command: str, *, expect: str = "", cwd: Path | None = None) -> str:
        """Run a shell command and return what it printed; end the program if it fails or prints something else."""
        started = time.monotonic()
        done = subprocess.run(
            command,
            check=False,
            shell=True,
            cwd=cwd or self.clone,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
        took = time.monotonic() - started
        self.seconds += took
        print(f"{took:6.1f} s  {what}", flush=True)
        if done.returncode or expect not in done.stdout:
            sys.exit(f"{command}\n{done.stdout}\nexit code {done.returncode}; expected {expect!r} in the output")
        return done.stdout

    def python(self, what: str, program: str, *, expect: str = "") -> str:
        """Run a Python program in the environment of the clone."""
        (self.clone / "first_hour_program.py").write_text(program, "utf-8")
        return self.run(what, "python first_hour_program.py", expect=expect)

    def block(self, page: str, containing: str) -> str:
        """Return the first block of a page that contains a text, as it is copied."""
        text = (self.clone / page).read_text("utf-8")
        for block in re.findall(r"^```\w+\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            if containing in block:
                return re.sub(r"^\$ ", "", block, flags=re.MULTILINE)
        sys.exit(f"{page} has no block with {containing!r}")

    def line(self, page: str, containing: str) -> str:
        """Return the line of such a block, with the lines that continue it."""
        block = self.block(page, containing).replace("\\\n", " ")
        return next(line for line in block.splitlines() if containing in line)

    @contextlib.contextmanager
    def running_emulator(self) -> Iterator[None]:
        """Run the README's emulator, and export the addresses that it prints."""
        started = time.monotonic()
        command = self.line("README.md", "beam-zerobus emulator")
        with subprocess.Popen(
            f"exec {command}", shell=True, cwd=self.clone, env=self.environment, stdout=subprocess.PIPE, text=True
        ) as running:
            assert running.stdout is not None
            try:
                missing = set(ADDRESSES)
                while missing:
                    line = running.stdout.readline()
                    if not line:
                        sys.exit(f"{command} ended before it printed {', '.join(sorted(missing))}")
                    if found := re.match(r"export (\w+)=(\S+)", line):
                        self.environment[found[1]] = found[2].strip("'\"")
                        missing.discard(found[1])
                took = time.monotonic() - started
                self.seconds += took
                print(f"{took:6.1f} s  own table in the emulator", flush=True)
                yield
            finally:
                running.terminate()


def main() -> int:
    """Play the hour; return 0, or end with the step that failed."""
    with tempfile.TemporaryDirectory(prefix="first-hour-", ignore_cleanup_errors=True) as directory:
        hour = Hour(Path(directory))
        hour.run("clone", f"git clone --quiet '{ROOT}' clone", cwd=Path(directory))
        hour.run("make quickstart", hour.line("README.md", "make quickstart"), expect="All rows arrived")
        example = hour.block("README.md", "beam.Create(")
        (hour.clone / "example.py").write_text(example, "utf-8")
        with hour.running_emulator():
            hour.run("the README's example", "python example.py")
            hour.python("own rows of each kind", ROWS_OF_EACH_KIND, expect=f"sent {KINDS[-1]}")
            without_beam = hour.block("README.md", "with ZerobusWriter(").replace("attic", "no Beam")
            hour.python("own rows without Beam", without_beam, expect="1 ")
            to_own_rows, of_processor = hour.seconds, _processor_seconds()
            hour.python("files with a row that is rejected", WRITE_FILES)
            _send_files_and_letters(hour)
            hour.python("debug files", hour.block("docs/debug-files.md", "DebugFiles(output_dir="))
            hour.run("inspect", hour.line("docs/debug-files.md", "beam-zerobus inspect debug"), expect="cellar")
            hour.run("inspect --diff", hour.line("docs/debug-files.md", "--diff"), expect="same")
        devices = {*KINDS, "attic", "cellar", "garden", "kitchen", "corrected", "no Beam"}
        hour.python("all rows are in the Delta table", PRINT_TABLE, expect=str(sorted(devices)))
        print(
            f"{to_own_rows:6.1f} s  from clone to own rows, {of_processor:.1f} s of them of a processor's time; "
            f"{hour.seconds:.1f} s in all"
        )
    return 0


def _processor_seconds() -> float:
    """Return the processor's time of all commands that have ended, which does not depend on what else runs."""
    times = os.times()
    return times.children_user + times.children_system


def _send_files_and_letters(hour: Hour) -> None:
    """Send the files, correct the row that was rejected, and send it again, as docs/pipelines.md shows."""
    page = "docs/pipelines.md"
    hour.run("files sent, one row rejected", hour.line(page, "readings/*.parquet"), expect="1 out_of_range")
    [letters] = (hour.clone / "dead-letters" / "today").iterdir()
    [letter] = map(json.loads, letters.read_text("utf-8").splitlines())
    letter["element"]["co2"] = 411
    letters.write_text(json.dumps(letter) + "\n", "utf-8")
    hour.run("the corrected row sent again", hour.line(page, "dead-letters/again"), expect="1 row written, 0 failed")


if __name__ == "__main__":
    sys.exit(main())
