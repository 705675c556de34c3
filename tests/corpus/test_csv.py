"""CSV of a public suite, and of many writers, into tables, compared with Python's reader."""

from __future__ import annotations

import csv
import io
import itertools
import json
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv

SPECTRUM = Path(__file__).with_name("csv_spectrum")
VALUES = [
    "plain",
    "",
    "a,b",
    'say "x"',
    '""',
    "two\nlines",
    "cr\r\nlf",
    " blanks ",
    "é漢\U0001f30d",
    "NULL",
    "'",
    "\\n",
    "a;b\tc|d",
]
ROWS = [{"id": number, "name": value, "more": f"{value}!"} for number, value in enumerate(VALUES)]


def test_the_rows_of_csv_spectrum(send, tmp_path):
    names = sorted(path.stem for path in SPECTRUM.glob("*.csv"))
    assert len(names) == 12
    expected: list[tuple[str | None, ...]] = []
    for name in names:
        header, _, body = (SPECTRUM / f"{name}.csv").read_bytes().partition(b"\n")
        # Names of columns are free in CSV, and not in Delta.
        columns = ",".join(f"c{number}" for number in range(len(next(csv.reader([header.decode()])))))
        (tmp_path / f"{name}.csv").write_bytes(columns.encode() + b"\n" + body)
        records = json.loads((SPECTRUM / f"{name}.json").read_text())
        values = [list(row.values()) for row in ([records] if isinstance(records, dict) else records)]
        read = list(csv.reader(io.StringIO(body.decode(), newline="")))
        assert values == read or name == "location_coordinates"  # its JSON has another telephone number
        expected += [(*row, *[None] * (5 - len(row))) for row in read]
    ddl = ", ".join(f"c{number} STRING" for number in range(5))
    rows, letters = send(ddl, tmp_path / "*.csv", "--null_value", "none")
    assert not letters
    assert sorted(map(str, (tuple(row.values()) for row in rows))) == sorted(map(str, expected))


def python_csv(path: Path, **dialect) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, **dialect)
    writer.writerows([list(ROWS[0]), *map(dict.values, ROWS)])
    path.write_bytes(text.getvalue().encode())


def duckdb_csv(path: Path) -> None:
    duckdb.from_arrow(pa.Table.from_pylist(ROWS)).write_csv(str(path))


WRITERS = {
    "polars": lambda path: pl.DataFrame(ROWS).write_csv(path),
    "polars-always": lambda path: pl.DataFrame(ROWS).write_csv(path, quote_style="always"),
    "pandas": lambda path: pd.DataFrame(ROWS).to_csv(path, index=False),
    "pandas-bom": lambda path: pd.DataFrame(ROWS).to_csv(path, index=False, encoding="utf-8-sig"),
    "pyarrow": lambda path: arrow_csv.write_csv(pa.Table.from_pylist(ROWS), path),
    "duckdb": duckdb_csv,
    "gzip": lambda path: pd.DataFrame(ROWS).to_csv(path.with_suffix(".csv.gz"), index=False),
}


def test_the_rows_of_every_writer(send, tmp_path):
    for name, write in WRITERS.items():
        write(tmp_path / f"{name}.csv")
    dialects = [*itertools.product((csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC), ("\n", "\r\n"))]
    dialects += [(csv.QUOTE_ALL, "\r")]  # Python's writer does not quote a line feed where that is no line end
    for quoting, line_end in dialects:
        python_csv(tmp_path / f"{quoting}-{line_end.encode().hex()}.csv", quoting=quoting, lineterminator=line_end)
    files = sorted(tmp_path.glob("*.csv*"))
    assert len(files) == len(WRITERS) + 7
    rows, letters = send("id INT, name STRING, more STRING", *files, "--null_value", "none")
    assert not letters
    found = sorted((row["id"], row["name"], row["more"]) for row in rows)
    assert found == sorted(tuple(row.values()) for row in ROWS for _ in files)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters(send, tmp_path, delimiter):
    python_csv(tmp_path / "in.csv", delimiter=delimiter)
    rows, letters = send(
        "id INT, name STRING, more STRING", tmp_path / "in.csv", "--null_value", "none", "--delimiter", delimiter
    )
    assert not letters
    assert sorted(rows, key=lambda row: row["id"]) == ROWS
