"""The emulator's page without a browser: its files, their headers, and what it shows."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests

from beam_zerobus.emulator import Emulator, Faults, ScriptedFault
from beam_zerobus.emulator.counts.activity import MAX_BYTES, MAX_ROWS, Activity
from beam_zerobus.emulator.page.view import shown

from .sdk import RawStream, Stream, eventually
from .test_control import asked
from .test_rest import insert

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, name STRING"
FILES = Path(__file__).parents[2] / "beam_zerobus" / "emulator" / "page"


def test_the_files_run_nothing_but_themselves(emulator: Emulator) -> None:
    page = requests.get(emulator.workspace_url, timeout=20)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    for name in ("page.css", "page.js"):
        assert f'"{name}"' in page.text
        assert requests.get(f"{emulator.workspace_url}/{name}", timeout=20).text == (FILES / name).read_text("utf-8")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert page.headers["Referrer-Policy"] == "no-referrer"
    text = "".join(
        path.read_text("utf-8") for path in sorted(FILES.iterdir()) if path.suffix in (".html", ".css", ".js")
    )
    assert not re.findall(r"\binnerHTML|outerHTML|insertAdjacent|document\.write|eval\(| style=| on\w+=\"", text)
    addresses = set(re.findall(r"https?://[^\s'\"]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}, "the page must load nothing from other hosts"


def test_neither_the_page_nor_its_answers_have_a_secret(emulator: Emulator) -> None:
    table_token = emulator.issue_token(TABLE)
    for path in ("/", "/page.css", "/page.js"):
        assert emulator.control_token not in requests.get(emulator.workspace_url + path, timeout=20).text
    assert requests.get(f"{emulator.workspace_url}/control/activity", timeout=20).status_code == 401
    answer = str(asked(emulator, "GET", "/control/activity"))
    assert not [secret for secret in (table_token, emulator.control_token, emulator.client_secret) if secret in answer]
    assert emulator.page_url == f"{emulator.workspace_url}/#token={emulator.control_token}"


def activity(emulator: Emulator) -> Any:
    return asked(emulator, "GET", "/control/activity")


def recent(emulator: Emulator) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = asked(emulator, "GET", f"/control/tables/{TABLE}/recent")["rows"]
    return rows


def test_rows_calls_and_streams_are_shown(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)
    assert recent(emulator) == []
    with Stream(emulator, TABLE, DDL) as stream:
        stream.send([{"id": number, "name": "a"} for number in range(70)])
        stream.flush()
    assert insert(emulator, [{"id": 70, "name": None}]).status_code == 200
    found = recent(emulator)
    assert [row["id"] for row in found] == list(range(70, 20, -1))
    assert found[0] == {"id": 70, "name": None}
    eventually(lambda: activity(emulator)["streams"][0]["end"])
    seen = activity(emulator)
    assert sum(seen["rows_each_second"]) == 71
    assert [(call["way"], call["rows"]) for call in seen["calls"]] == [("rest", 1), ("proto", 70)]
    assert None not in [call["latency"] for call in seen["calls"]]
    (one,) = seen["streams"]
    assert (one["rows"], one["calls"], one["waiting"]) == (70, 1, 0)
    assert one["latency"] > 0


def test_rejections_and_faults_have_their_reasons(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)
    emulator.faults = Faults(script=(ScriptedFault("status", at_call=2, message="by the test"),))
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        stream.create(TABLE)
        stream.send_json(0, '{"id": "x"}')
        stream.end()
    with RawStream(emulator, TABLE, None) as stream:
        stream.create(TABLE)
        stream.end()
    assert insert(emulator, [{"id": 1}]).status_code == 503
    assert insert(emulator, [{"id": 1}], "guess").status_code == 401
    events = [(event["kind"], event["where"], event["text"]) for event in activity(emulator)["events"]]
    texts = {(kind, where): text for kind, where, text in events}
    insertion = f"POST /zerobus/v1/tables/{TABLE}/insert"
    assert [kind for kind, _, _ in events].count("rejected") == 4
    assert {text for kind, where, text in events if where == insertion} == {
        "503: by the test",
        "401: the access token was not issued here",
    }
    assert ("fault", "") in texts
    rejected = [text for kind, where, text in events if (kind, where) == ("rejected", TABLE)]
    assert rejected[0].startswith("UNAUTHENTICATED: ")
    assert "column 'id'" in rejected[1]


def test_tokens_and_the_clock_are_shown(emulator: Emulator) -> None:
    emulator.issue_token(TABLE, life=60)
    emulator.issue_token(life=7200)
    asked(emulator, "POST", "/control/clock", {"seconds": 3600})
    seen = activity(emulator)
    assert seen["ahead"] == 3600
    assert [(token["table"], token["state"]) for token in seen["tokens"]] == [(None, "valid"), (TABLE, "expired")]
    emulator.revoke_tokens()
    assert activity(emulator)["tokens"][0]["state"] == "revoked"
    asked(emulator, "POST", "/control/reset")
    assert activity(emulator)["events"] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (2**60, str(2**60)),
        (float("nan"), "NaN"),
        ([("k", 1)], '{"k": 1}'),
        ({"a": [b"\x00"]}, '{"a": ["0x00"]}'),
        ("x" * 300, "x" * 200 + "…"),
        (True, True),
    ],
)
def test_values_are_shown_as_a_reader_expects(value: object, text: object) -> None:
    assert shown(value) == text


def test_what_is_kept_is_bounded() -> None:
    activity = Activity()
    for number in range(300):
        activity.stored(TABLE, pa.record_batch({"s": ["x" * MAX_BYTES] * 3}))
        activity.stored(f"t{number}", pa.record_batch({"n": list(range(1000))}))
        activity.stream_opened(str(number), TABLE, "json")
        activity.call(TABLE, 1, 1, str(number))
        if number:  # the first one stays open
            activity.stream_ended(str(number), TABLE, "closed")
        activity.event("fault", "w" * 10_000, "t" * 10_000)
    assert len(activity.rows(TABLE)) <= 1
    assert [row["n"] for row in activity.rows("t299")] == list(range(999, 999 - MAX_ROWS, -1))
    assert max(len(activity.calls()), len(activity.events()), len(activity.streams())) <= 200
    assert "0" in activity.streams()
    assert max(len(event.where + event.text) for event in activity.events()) <= 1300


def test_what_is_read_is_of_one_moment() -> None:
    activity = Activity()
    activity.stream_opened("1", TABLE, "json")
    activity.call(TABLE, 5, 70, "1")
    activity.call(TABLE, 1, 1)
    stream, (request, call) = activity.streams()["1"], activity.calls()
    activity.call(TABLE, 5, 70, "1")
    activity.acknowledged("1", 0)
    activity.answered(TABLE, 1)
    assert (stream.rows, stream.bytes, stream.waiting, stream.latency) == (5, 70, 1, None)
    assert (request.latency, call.latency) == (None, None)
    later = activity.streams()["1"]
    assert (later.rows, later.bytes, later.waiting, later.latency is None) == (10, 140, 1, False)
