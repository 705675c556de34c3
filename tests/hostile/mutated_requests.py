"""Requests with damage, as they are answered: REST, OTLP, SQL and the control API."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import orjson
import pyarrow as pa

from beam_zerobus.emulator import OTLP_COLUMNS, Emulator, Faults, Table
from beam_zerobus.emulator.access.tokens import TokenIssuer
from beam_zerobus.emulator.control.api import Control
from beam_zerobus.emulator.counts.stats import StatsBook
from beam_zerobus.emulator.faults import FaultInjector
from beam_zerobus.emulator.host import Host
from beam_zerobus.emulator.http.error import HttpError
from beam_zerobus.emulator.http.rest import RestInserts
from beam_zerobus.emulator.otlp.exports import SIGNALS, Exports
from beam_zerobus.emulator.otlp.http import HttpExports
from beam_zerobus.emulator.page import PageView
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.sql import Warehouse
from beam_zerobus.emulator.sql.warehouse import SqlError
from beam_zerobus.emulator.tables.json_rows import to_json_rows
from beam_zerobus.emulator.wire import TABLE_HEADER
from tests.emulator.otlp_calls import SPAN_ID, TRACE_ID, request_of, span
from tests.hostile.mutations import (
    DDL,
    ROWS,
    SCHEMA,
    TABLE,
    Attempt,
    batch,
    damaged,
    flight_stream,
    grpc_stream,
    sometimes,
)


class Place:
    """The state of an emulator without its ports, with one table in memory."""

    def __init__(self, ddl: str = DDL) -> None:
        self.emulator = Emulator(memory=True)
        self.table: Table = self.emulator.create_table(TABLE, ddl)
        self.tokens = TokenIssuer("secret", 3600)
        self.authorization = f"Bearer {self.tokens.issue(TABLE, None)}"
        self.host = Host(
            find_table=lambda name: self.table if name == TABLE else None,
            tokens=self.tokens,
            stats=StatsBook(record_calls=False),
            injector=FaultInjector(Faults()),
            check_rows=True,
        )

    def stored(self) -> pa.Table:
        """Return the rows, and forget them."""
        rows = self.table.to_arrow()
        self.emulator.drop_table(TABLE)
        self.table = self.emulator.create_table(TABLE, self.table.schema)
        return rows


def rest() -> Attempt:
    place = Place()
    inserts = RestInserts(host=place.host)
    token = place.host.authenticate(place.authorization)
    body = json.dumps(ROWS).encode()

    def attempt(chance: random.Random) -> bool:
        sent = damaged(chance, body)
        try:
            inserts.insert(token, TABLE, sent)
        except Rejection:
            assert place.table.count_rows() == 0
            return False
        names = [column.name for column in SCHEMA.columns]
        found = to_json_rows(place.stored(), SCHEMA)
        assert found == [{name: row.get(name) for name in names} for row in map(_with_fields, orjson.loads(sent))]
        return True

    return attempt


def _with_fields(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as it is read back: each struct has all its fields."""
    return row | {"p": {"x": row["p"].get("x")}} if isinstance(row.get("p"), dict) else row


def otlp(protocol: str) -> Attempt:
    place = Place(OTLP_COLUMNS["traces"])
    value = {"key": "k", "value": {"kvlist_value": {"values": [{"key": "x", "value": {"int_value": 3}}]}}}
    link = {"trace_id": TRACE_ID, "span_id": SPAN_ID}
    event = {"name": "e", "time_unix_nano": 5, "attributes": [value]}
    full = span(attributes=[value], events=[event], links=[link], status={"code": 2, "message": "m"}, kind=3)
    request = request_of("traces", full, span(name="é"), scope={"name": "s", "attributes": [value]})
    signal, token = SIGNALS[0], place.host.authenticate(place.authorization)
    exports = Exports(place.host)
    answers = HttpExports(exports)
    as_json = orjson.dumps(
        {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": TRACE_ID.hex(), "spanId": SPAN_ID.hex()}] * 2}]}]}
    )

    def attempt(chance: random.Random) -> bool:
        sent = damaged(chance, as_json if protocol == "json" else request.SerializeToString())
        if protocol == "grpc":
            try:
                response = exports.export(signal, token=token, table_name=TABLE, body=sent)
            except Rejection:
                assert place.table.count_rows() == 0
                return False
            rejected = response.partial_success.rejected_spans
            records = list(signal.records(signal.messages()[0].FromString(sent)))
            assert place.stored().num_rows + rejected == len(records)
            return True
        kind = "application/json" if protocol == "json" else "application/x-protobuf"
        try:
            answers.answer("/v1/traces", {TABLE_HEADER: TABLE, "Content-Type": kind}, token, sent)
        except Rejection:
            assert place.table.count_rows() == 0
            return False
        place.stored()
        return True

    return attempt


STATEMENTS = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (id INT NOT NULL, t ARRAY<STRUCT<x: INT>>) USING DELTA PARTITIONED BY (id)",
    f"ALTER TABLE {TABLE} ADD COLUMNS (n INT, p.y STRING)",
    f"GRANT SELECT, MODIFY ON TABLE {TABLE} TO `client`",
    "REVOKE USE SCHEMA ON SCHEMA main.iot FROM `client`",
    "SHOW GRANTS `client` ON CATALOG main",
    f"DESCRIBE TABLE EXTENDED {TABLE}",
)


def sql() -> Attempt:
    from beam_zerobus.emulator.access.grants import ADMIN, Grants
    from beam_zerobus.emulator.tables.catalog import Catalog
    from beam_zerobus.emulator.tables.layout import TableRules

    grants = Grants("client")
    catalogs = [Catalog(None, rules=TableRules(), grants=grants, created=lambda name: None)]
    warehouse = Warehouse(grants=grants, catalog=lambda: catalogs[0])

    def attempt(chance: random.Random) -> bool:
        if chance.random() < 0.1:
            catalogs[0] = Catalog(None, rules=TableRules(), grants=grants, created=lambda name: None)
        statement = damaged(chance, chance.choice(STATEMENTS).encode()).decode(errors="surrogateescape")
        try:
            warehouse.execute(statement, ADMIN)
        except SqlError:
            return False
        return True

    return attempt


CONTROL = (
    ("POST", "/control/tables", {"name": "main.iot.b", "columns": DDL, "partitioned_by": [], "rescue_column": None}),
    ("POST", f"/control/tables/{TABLE}/alter", {"add": "n INT"}),
    ("POST", f"/control/tables/{TABLE}/grant", {"privileges": ["MODIFY"]}),
    ("PUT", "/control/faults", {"script": [{"kind": "drop", "at_call": 1}], "rate": 0.1, "reject_rows": []}),
    ("POST", "/control/clock", {"seconds": 1}),
    ("POST", "/control/tokens", {"table": TABLE, "life": 5}),
    ("POST", "/control/streams/rotate", {"seconds": 1}),
    ("GET", f"/control/tables/{TABLE}/rows", {}),
    ("GET", f"/control/tables/{TABLE}/recent", {}),
    ("GET", "/control/activity", {}),
    ("DELETE", "/control/tables/main.iot.b", {}),
)


def control() -> Attempt:
    place = Place()
    api = Control(emulator=place.emulator, token="t", view=PageView(place.host.stats, place.tokens))

    def attempt(chance: random.Random) -> bool:
        method, path, body = chance.choice(CONTROL)
        sent_path = sometimes(chance, path.encode(), 0.2).decode("latin-1")
        query = {"limit": str(chance.choice((0, 5, -1, "x")))} if chance.random() < 0.2 else {}
        try:
            api.answer(method, sent_path, query, sometimes(chance, orjson.dumps(body), 0.9), {})
        except HttpError as error:
            if error.status not in (400, 404, 415):
                raise
            return False
        finally:
            with suppress(HttpError):
                api.answer("POST", "/control/tables", {}, orjson.dumps({"name": TABLE, "columns": DDL}), {})
        return True

    return attempt


def seeds(kind: str, content: bytes) -> Attempt:
    place = Place()
    api = Control(emulator=place.emulator, token="t", view=PageView(place.host.stats, place.tokens))
    headers: dict[str, str | None] = {"Content-Type": kind}

    def attempt(chance: random.Random) -> bool:
        try:
            answer = api.answer("POST", f"/control/tables/{TABLE}/rows", {}, damaged(chance, content), headers)
        except HttpError:
            assert place.table.count_rows() == 0
            return False
        assert isinstance(answer, dict)
        assert place.stored().num_rows == answer["count"]
        return True

    return attempt


def contents() -> Iterator[tuple[str, Attempt]]:
    from pyarrow import parquet

    rows = pa.Table.from_batches([batch()]).select(["id", "name", "t"])
    file, stream = pa.BufferOutputStream(), pa.BufferOutputStream()
    parquet.write_table(rows, file)
    with pa.ipc.new_stream(stream, rows.schema) as writer:
        writer.write_table(rows)
    yield "rows in Parquet", seeds("application/vnd.apache.parquet", file.getvalue().to_pybytes())
    yield "rows in Arrow", seeds("application/vnd.apache.arrow.stream", stream.getvalue().to_pybytes())
    yield "rows in CSV", seeds("text/csv", b"id,name\n1,a\n2,b\n3,\n")


WAYS: dict[str, Callable[[], list[Attempt]]] = {
    # Calls of many rows too, which may be read in another way than those of few.
    "gRPC": lambda: [grpc_stream("proto", 30), *(grpc_stream(kind) for kind in ("proto", "json", "avro"))],
    "Flight": lambda: [flight_stream()],
    "REST": lambda: [rest()],
    "OTLP over gRPC": lambda: [otlp("grpc")],
    "OTLP over HTTP": lambda: [otlp("protobuf"), otlp("json")],
    "SQL": lambda: [sql()],
    "control": lambda: [control(), *(attempt for _, attempt in contents())],
}
"""For each way in, what makes a call with damage."""
