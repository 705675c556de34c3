"""The cases. A case returns what the client did, in a word or two, and fails by an AssertionError.

The client's own recovery is on in every case.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from beam_zerobus.emulator import Faults, ScriptedFault
from tests.forwarding import forwarded
from tests.sdks import own_schema
from tests.sdks.payloads import records_with_unknown_column, schema_of
from tests.sdks.program import Answer
from tests.sdks.server import ServerProcess
from tests.sdks.trial import Trial

DOWN_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One row of the matrix.

    Attributes:
        name: What it is called on the command line.
        title: What it is called in the matrix.
        run: Does it; returns what the client did.
        over_tls: Whether it runs over TLS too.
    """

    name: str
    title: str
    run: Callable[[Trial], str]
    over_tls: bool = True


def _rows(trial: Trial) -> str:
    _opened(trial)
    trial.send(0)  # one record: the client's method for a single one
    trial.wait(trial.send(*range(1, 6)))
    trial.send(*range(6, 10))
    trial.flush()
    trial.close()
    trial.check_exactly_once()
    return "yes"


def _own_schema(trial: Trial) -> str:
    client, wire_format = trial.client, trial.wire_format
    if wire_format == "json" or not (client.reads_columns or (client.proto_tool and wire_format == "proto")):
        return "none"
    ddl = own_schema.columns_of(client)
    table = trial.emulator.create_table(own_schema.TABLE, ddl)
    schema = own_schema.own_schema(client, trial.emulator, trial.directory)
    _opened(trial, table=table.name, schema=schema)
    sent = trial.program.ask("send", *own_schema.encoded(wire_format, ddl))
    assert sent.ok, f"send: {sent.message}"
    closed = trial.program.ask("close")
    assert closed.ok, f"close: {closed.message}"
    assert table.to_arrow().to_pylist() == own_schema.rows(ddl)
    return "yes"


def _close(trial: Trial) -> str:
    trial.emulator.faults = Faults(ack_delay=0.2)
    _opened(trial)
    for number in range(20):
        trial.send(2 * number, 2 * number + 1)
    trial.close()
    trial.check_exactly_once()
    assert not trial.send_bad(40).ok, "a closed stream accepted a call"
    return "yes"


def _wrong_secret(trial: Trial) -> str:
    return _rejected(trial, trial.open(secret="wrong"), "401")


def _missing_table(trial: Trial) -> str:
    return _rejected(trial, trial.open(table="main.iot.missing"), "main.iot.missing")


def _wrong_schema(trial: Trial) -> str:
    if trial.wire_format != "json":
        return _rejected(trial, trial.open(schema=schema_of(trial.wire_format, wrong=True)), "colour")
    _opened(trial)  # a JSON stream has no schema; its rows have the names
    answer = trial.program.ask("send", *records_with_unknown_column(1))
    return _rejected(trial, trial.program.ask("wait", answer.offset) if answer.offset is not None else answer, "colour")


def _bad_row(trial: Trial) -> str:
    _opened(trial)
    trial.wait(trial.send(0, 1, 2))
    outcome = _rejected(trial, trial.send_bad(3), "price", "record 1")
    _opened(trial)
    trial.send(4)
    trial.flush()
    trial.close()
    trial.check_exactly_once()
    return outcome


def _killed(trial: Trial) -> str:
    server = ServerProcess(trial.directory, trial.authority)
    try:
        server.start()
        _opened(trial, server=server)
        trial.wait(trial.send(0, 1))
        trial.send(2, 3)
        server.kill()
        trial.send(4)
        time.sleep(DOWN_SECONDS)
        server.start()
        trial.send(5)
        trial.flush()
        trial.close()
    finally:
        server.kill()
    trial.check_at_least_once(server.table_path)
    assert trial.acknowledged == set(range(6))
    return "recovers"


def _rotated(trial: Trial) -> str:
    outcome = _recovers(trial, ScriptedFault("close", at_call=2, delay=2.0), wait_between=0.3)
    trial.check_exactly_once()
    return outcome


def _unavailable_before(trial: Trial) -> str:
    outcome = _recovers(trial, ScriptedFault("status", at_call=2, code="UNAVAILABLE"))
    trial.check_exactly_once()
    return outcome


def _unavailable_after(trial: Trial) -> str:
    outcome = _recovers(trial, ScriptedFault("status", at_call=2, code="UNAVAILABLE", after_storing=True))
    twice = {row_id for row_id, rows in trial.table_ids().items() if rows == 2}
    assert twice == {2, 3}, "the call that was stored without an acknowledgement is written twice, and no other"
    return outcome


def _dropped(trial: Trial) -> str:
    outcome = _recovers(trial, ScriptedFault("drop", at_call=2), ScriptedFault("drop", at_call=5, after_storing=True))
    assert trial.emulator.stats.faults["drop"] == 2
    return outcome


def _slow_service(trial: Trial) -> str:
    return _waits(trial, Faults(ack_delay=0.3, ack_interval=0.5), calls=40)


def _slow(trial: Trial) -> str:
    return _waits(trial, Faults(script=(ScriptedFault("slow_ack", at_call=1, times=3, delay=1.0),)), calls=3)


def _waits(trial: Trial, faults: Faults, calls: int) -> str:
    trial.emulator.faults = faults
    _opened(trial)
    for number in range(calls):
        trial.send(number)
    trial.flush()
    trial.close()
    trial.check_exactly_once()
    assert trial.emulator.stats.streams_opened == 1
    return "waits"


def _missing_acknowledgement(trial: Trial) -> str:
    trial.emulator.faults = Faults(script=(ScriptedFault("no_ack", at_call=1), ScriptedFault("no_ack", at_call=3)))
    _opened(trial, patience_ms=2_000)
    first = trial.send(0)
    trial.wait(trial.send(1))  # the acknowledgement of a later call covers it
    trial.wait(first)
    trial.wait(trial.send(2))  # no later call: the client's patience ends
    trial.close()
    trial.check_at_least_once()
    assert trial.emulator.stats.streams_opened > 1, "the client waited longer than it was told to"
    return "recovers"


def _token_unavailable(trial: Trial) -> str:
    trial.emulator.faults = Faults(script=(ScriptedFault("token", at_token=1, http_status=503),))
    answer = trial.open()
    if not answer.ok:
        assert answer.kind != "final", f"503 is not final: {answer.message}"
        assert "503" in answer.message, answer.message
        _opened(trial)
    trial.send(0)
    trial.flush()
    trial.close()
    trial.check_exactly_once()
    return "retries" if answer.ok else "error, retriable" if answer.kind == "retriable" else "error"


def _token_cut(trial: Trial) -> str:
    port = int(trial.emulator.workspace_url.rpartition(":")[2])
    with forwarded(("127.0.0.1", 0), ("127.0.0.1", port), cut_off=1) as (host, in_front):
        answer = trial.open(workspace_url=f"http://{host}:{in_front}")
    outcome = "retries" if answer.ok else _rejected(trial, answer)
    if not answer.ok:
        _opened(trial)
    trial.send(0)
    trial.close()
    trial.check_exactly_once()
    return outcome


def _opened(trial: Trial, **options: Any) -> None:
    answer = trial.open(**options)
    assert answer.ok, f"open: {answer.message}"


def _rejected(trial: Trial, answer: Answer, *named: str) -> str:
    """Check an error that says why; the table has none of the rows."""
    assert not answer.ok, "the client reports success"
    for name in named:
        assert name in answer.message, f"the message does not name {name}: {answer.message}"
    assert answer.kind != "retriable", f"the client takes it for retriable: {answer.message}"
    trial.check_at_least_once()
    return "error, final" if answer.kind == "final" else "error"


def _recovers(trial: Trial, *script: ScriptedFault, wait_between: float = 0.0) -> str:
    """Send six calls through faults that end streams; the client is to recover by itself."""
    trial.emulator.faults = Faults(script=script)
    _opened(trial)
    trial.wait(trial.send(0, 1))
    for number in range(1, 6):
        trial.send(2 * number, 2 * number + 1)
        time.sleep(wait_between)
    trial.flush()
    trial.close()
    assert trial.acknowledged == set(range(12))
    trial.check_at_least_once()
    assert trial.emulator.stats.streams_opened > 1, "the fault did not end the stream"
    return "recovers"


CASES = (
    Case(name="rows", title="rows arrive, single and in batches", run=_rows),
    Case(name="schema-tool", title="schema that the client makes from Unity Catalog", run=_own_schema, over_tls=False),
    Case(name="close", title="an orderly close acknowledges what was sent", run=_close),
    Case(name="secret", title="wrong secret", run=_wrong_secret),
    Case(name="table", title="missing table", run=_missing_table),
    Case(name="schema", title="a column that the table does not have", run=_wrong_schema),
    Case(name="row", title="bad row", run=_bad_row),
    Case(name="kill", title="server killed (SIGKILL) and started again", run=_killed),
    Case(name="rotation", title="rotation: close signal", run=_rotated),
    Case(name="before", title="UNAVAILABLE before a call is stored", run=_unavailable_before),
    Case(name="after", title="UNAVAILABLE after a call is stored", run=_unavailable_after),
    Case(name="drop", title="dropped connection", run=_dropped),
    Case(name="service", title="slow service: two acknowledgements a second", run=_slow_service),
    Case(name="slow", title="slow acknowledgements", run=_slow),
    Case(name="missing", title="missing acknowledgement", run=_missing_acknowledgement),
    Case(name="token", title="token endpoint answers 503", run=_token_unavailable),
    Case(name="token-cut", title="request for a token is cut off", run=_token_cut, over_tls=False),
)
