"""Random tables and rows, and random ways in which a row is broken."""

from __future__ import annotations

import datetime as dt
import decimal
import random
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa

ROWS_A_BATCH = 17
Bad = tuple[Any, str]


@dataclass(frozen=True)
class Leaf:
    """A type without children: values that fit, Python values that do not, and the same from Arrow."""

    ddl: str
    good: list[Any]
    bad: list[Bad]
    arrow: pa.DataType
    bad_arrow: list[Bad]

    def value(self, chance: random.Random) -> Any:
        return chance.choice(self.good)

    def broken(self, chance: random.Random, path: str, *, arrow: bool) -> tuple[Any, str, str] | None:
        bad = self.bad_arrow if arrow else self.bad
        return (*chance.choice(bad), path) if bad else None


@dataclass(frozen=True)
class Array:
    element: Any

    @property
    def ddl(self) -> str:
        return f"ARRAY<{self.element.ddl}>"

    @property
    def arrow(self) -> pa.DataType:
        return pa.list_(self.element.arrow)

    def value(self, chance: random.Random) -> list[Any]:
        return [self.element.value(chance) for _ in range(chance.randrange(4))]

    def broken(self, chance: random.Random, path: str, *, arrow: bool) -> tuple[Any, str, str] | None:
        if not arrow and chance.random() < 0.2:
            return "no list", "wrong_type", path
        found = self.element.broken(chance, f"{path}.element", arrow=arrow)
        return found and ([*self.value(chance), found[0], *self.value(chance)], *found[1:])


@dataclass(frozen=True)
class Map:
    item: Any

    @property
    def ddl(self) -> str:
        return f"MAP<STRING, {self.item.ddl}>"

    @property
    def arrow(self) -> pa.DataType:
        return pa.map_(pa.string(), self.item.arrow)

    def value(self, chance: random.Random) -> dict[Any, Any]:
        return {f"k{number}": self.item.value(chance) for number in range(chance.randrange(3))}

    def broken(self, chance: random.Random, path: str, *, arrow: bool) -> tuple[Any, str, str] | None:
        if not arrow and chance.random() < 0.2:
            return self.value(chance) | {5: self.item.value(chance)}, "wrong_type", f"{path}.key"
        found = self.item.broken(chance, f"{path}.value", arrow=arrow)
        return found and (self.value(chance) | {"bad": found[0]}, *found[1:])


@dataclass(frozen=True)
class Struct:
    fields: tuple[Column, ...]

    @property
    def ddl(self) -> str:
        return f"STRUCT<{', '.join(field.ddl for field in self.fields)}>"

    @property
    def arrow(self) -> pa.DataType:
        return pa.struct([(field.name, field.type.arrow) for field in self.fields])

    def value(self, chance: random.Random) -> dict[str, Any]:
        return {field.name: field.value(chance) for field in self.fields}

    def broken(self, chance: random.Random, path: str, *, arrow: bool) -> tuple[Any, str, str] | None:
        if not arrow and chance.random() < 0.2:
            return self.value(chance) | {"colour": "red"}, "unknown_field", f"{path}.colour"
        for field in chance.sample(self.fields, len(self.fields)):
            if found := field.broken(chance, f"{path}.", arrow=arrow):
                return self.value(chance) | {field.name: found[0]}, *found[1:]
        return None


@dataclass(frozen=True)
class Column:
    name: str
    type: Any
    nullable: bool

    @property
    def ddl(self) -> str:
        return f"{self.name} {self.type.ddl}{'' if self.nullable else ' NOT NULL'}"

    def value(self, chance: random.Random) -> Any:
        return None if self.nullable and chance.random() < 0.1 else self.type.value(chance)

    def broken(self, chance: random.Random, prefix: str, *, arrow: bool) -> tuple[Any, str, str] | None:
        if not self.nullable and chance.random() < 0.5:
            return None, "null_in_not_null_column", prefix + self.name
        return self.type.broken(chance, prefix + self.name, arrow=arrow)


NOON = dt.datetime(2024, 2, 29, 12, 0, 0, 1)
FAR = 7 * 10**17  # microseconds: the year 24,151
MICROS = pa.timestamp("us")
LEAVES = [
    Leaf(
        "TINYINT",
        [-128, 0, 127],
        [(128, "out_of_range"), ("x", "wrong_type"), (1.5, "inexact")],
        pa.int64(),
        [(128, "out_of_range")],
    ),
    Leaf(
        "INT",
        [-(2**31), 7],
        [(2**31, "out_of_range"), (True, "wrong_type")],
        pa.int64(),
        [(-(2**31) - 1, "out_of_range")],
    ),
    Leaf(
        "BIGINT", [0, 2**63 - 1], [(2**63, "out_of_range"), ("1", "wrong_type")], pa.uint64(), [(2**63, "out_of_range")]
    ),
    Leaf("FLOAT", [0.5, -2.0], [(1e300, "out_of_range"), ("x", "wrong_type")], pa.float16(), []),
    Leaf("DOUBLE", [0.1, -1e300], [("x", "wrong_type"), (b"1", "wrong_type")], pa.float64(), []),
    Leaf("BOOLEAN", [True, False], [(1, "wrong_type"), ("true", "wrong_type")], pa.bool_(), []),
    Leaf(
        "STRING",
        ["", "Zürich", "x" * 300],
        [(5, "wrong_type"), (b"\xff", "invalid_utf8")],
        pa.binary(),
        [(b"a\xff", "invalid_utf8")],
    ),
    Leaf("BINARY", [b"", b"\xff\x00"], [("x", "wrong_type"), (5, "wrong_type")], pa.large_binary(), []),
    Leaf(
        "DECIMAL(6, 2)",
        [decimal.Decimal("9999.99"), decimal.Decimal("-0.01")],
        [(decimal.Decimal("1.234"), "inexact"), (10**6, "out_of_range"), ("abc", "invalid_text"), (1.5, "wrong_type")],
        pa.decimal128(20, 4),
        [(decimal.Decimal("1.234"), "inexact"), (decimal.Decimal(10**6), "out_of_range")],
    ),
    Leaf(
        "DATE",
        [dt.date(1, 1, 1), dt.date(9999, 12, 31)],
        [(NOON, "wrong_type"), (10**7, "out_of_range"), ("tomorrow", "invalid_text")],
        pa.date32(),
        [(10**7, "out_of_range")],
    ),
    Leaf(
        "TIMESTAMP",
        [NOON.replace(tzinfo=dt.UTC)],
        [(NOON, "wrong_type"), (FAR, "out_of_range"), ("noon", "invalid_text")],
        pa.timestamp("us", "UTC"),
        [(FAR, "out_of_range")],
    ),
    Leaf(
        "TIMESTAMP_NTZ",
        [NOON],
        [(NOON.replace(tzinfo=dt.UTC), "wrong_type"), (FAR, "out_of_range")],
        MICROS,
        [(FAR, "out_of_range")],
    ),
    Leaf(
        "VARIANT",
        ['{"a":[1,null]}', "1"],
        [({1}, "wrong_type"), (b"\xff", "invalid_utf8")],
        pa.large_binary(),
        [(b"\xff", "invalid_utf8")],
    ),
]


# deltalake makes no table whose only TIMESTAMP_NTZ columns are inside others.
INNER_LEAVES = [leaf for leaf in LEAVES if leaf.ddl != "TIMESTAMP_NTZ"]


def random_type(chance: random.Random, depth: int = 0) -> Any:
    """Return a type that every wire format holds."""
    kind = chance.randrange(8) if depth < 3 else 0
    if kind == 1:
        return Struct(random_columns(chance, depth + 1))
    if kind in (2, 3):
        inner = Struct(random_columns(chance, depth + 1)) if chance.random() < 0.3 else chance.choice(INNER_LEAVES)
        return Array(inner) if kind == 2 else Map(inner)
    return chance.choice(INNER_LEAVES if depth else LEAVES)


def random_columns(chance: random.Random, depth: int = 0) -> tuple[Column, ...]:
    return tuple(
        Column(f"c{number}", random_type(chance, depth), nullable=chance.random() < 0.7)
        for number in range(chance.randint(1, 4))
    )


@dataclass(frozen=True)
class Broken:
    error_type: str
    column: str


@dataclass(frozen=True)
class Job:
    """What one example sends: rows by number, and what is wrong with some of them."""

    ddl: str
    elements: list[Any]
    rows: dict[int, dict[str, Any]]
    broken: dict[int, Broken]
    rejected: set[int]
    element_of: dict[int, int]


def random_job(chance: random.Random, *, kind: str, wire_format: str, count: int, rate: float) -> Job:
    columns = random_columns(chance)
    rows: dict[int, dict[str, Any]] = {}
    broken: dict[int, Broken] = {}
    rejected: set[int] = set()
    for number in range(count):
        row = {"number": number} | {column.name: column.value(chance) for column in columns}
        if chance.random() < rate:
            if chance.random() < 0.3:
                rejected.add(number)
            elif found := random_break(chance, columns, arrow=kind == "RecordBatch", wire_format=wire_format):
                row |= {found[0]: found[1]}
                broken[number] = found[2]
        rows[number] = row
    if kind == "RecordBatch":
        numbers = list(rows)
        groups = [numbers[start : start + ROWS_A_BATCH] for start in range(0, count, ROWS_A_BATCH)]
        elements = [as_batch(columns, [rows[number] for number in group]) for group in groups]
        element_of = {number: index for index, group in enumerate(groups) for number in group}
    else:
        elements = [beam.Row(**row) if kind == "Row" else row for row in rows.values()]
        element_of = {number: number for number in rows}
    ddl = ", ".join(["number BIGINT NOT NULL", *(column.ddl for column in columns)])
    return Job(ddl, elements, rows, broken, rejected, element_of)


def random_break(
    chance: random.Random, columns: tuple[Column, ...], *, arrow: bool, wire_format: str
) -> tuple[str, Any, Broken] | None:
    if not arrow and chance.random() < 0.1:
        return "colour", "red", Broken("unknown_field", "colour")
    for column in chance.sample(columns, len(columns)):
        if wire_format == "proto" and isinstance(column.type, Array) and chance.random() < 0.3:
            holed = [*column.type.value(chance), None]
            return column.name, holed, Broken("null_list_element", f"{column.name}.element")
        if found := column.broken(chance, "", arrow=arrow):
            return column.name, found[0], Broken(*found[1:])
    return None


def as_batch(columns: tuple[Column, ...], rows: list[dict[str, Any]]) -> pa.RecordBatch:
    arrays = {"number": pa.array([row["number"] for row in rows], pa.int64())}
    for column in columns:
        values = [arrow_value(column.type, row[column.name]) for row in rows]
        arrays[column.name] = pa.array(values, column.type.arrow)
    return pa.RecordBatch.from_pydict(arrays)


def arrow_value(kind: Any, value: Any) -> Any:
    """Return a value as pyarrow takes it for the type's Arrow type."""
    if value is None:
        return None
    if isinstance(kind, Array):
        return [arrow_value(kind.element, element) for element in value]
    if isinstance(kind, Map):
        return [(key, arrow_value(kind.item, item)) for key, item in value.items()]
    if isinstance(kind, Struct):
        return {field.name: arrow_value(field.type, value[field.name]) for field in kind.fields}
    return value.encode() if isinstance(value, str) else value


def comparable(value: Any) -> Any:
    """Return a value in one form for what was sent and what was read; empty is null, as protobuf cannot tell."""
    if isinstance(value, dict):
        value = {key: comparable(inner) for key, inner in value.items()}
    elif isinstance(value, list):
        pairs = bool(value) and all(isinstance(pair, tuple) for pair in value)
        value = comparable(dict(value)) if pairs else [comparable(inner) for inner in value]
    return None if value in ([], {}) else value
