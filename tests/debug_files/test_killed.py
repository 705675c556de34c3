"""A writer killed with SIGKILL at any moment."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beam_zerobus.debug_files import read_arrow, read_proto

from .test_writer import ids, open_writer, write

ROWS = 50
WRITER = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from debug_files.test_writer import open_writer, write
writer = open_writer(Path(sys.argv[1]), max_file_bytes=40_000, max_files_retained=None)
start = int(sys.argv[2])
while True:
    write(writer, start, rows={ROWS})
    start += {ROWS}
    sys.stdout.write(f"{{start}}\\n")
    sys.stdout.flush()
"""


@pytest.mark.hostile
@pytest.mark.parametrize("seed", range(3))
def test_everything_that_was_written_reads_back_and_the_next_start_loses_nothing(tmp_path: Path, seed: int) -> None:
    delays = random.Random(seed)
    acknowledged = 0
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(acknowledged)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            reported = int(process.stdout.readline())  # it has begun
            time.sleep(delays.uniform(0, 0.3))
            process.kill()
            reported = max([reported, *(int(line) for line in process.stdout if line.endswith("\n"))])
        arrow, proto = ids(read_arrow(tmp_path)), ids(read_proto(tmp_path))
        # At most the batch in hand is in one file and not in the other, or cut.
        assert arrow == list(range(len(arrow)))
        assert proto == list(range(len(proto)))
        assert reported <= len(arrow) <= reported + ROWS
        assert reported <= len(proto) <= reported + ROWS
        writer = open_writer(tmp_path, max_files_retained=None)
        start = max(len(arrow), len(proto))
        if len(arrow) == len(proto):
            write(writer, start, rows=ROWS)
            acknowledged = start + ROWS
        else:
            writer.close()
            break
        writer.close()
        assert ids(read_arrow(tmp_path)) == ids(read_proto(tmp_path)) == list(range(acknowledged))
