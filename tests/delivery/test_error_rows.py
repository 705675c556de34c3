"""The table's rows that a gRPC status makes: the emulator sends each, and the writer does what the row says."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pytest
from zerobus.sdk.sync import ZerobusException

from beam_zerobus import (
    AuthenticationError,
    ConfigurationError,
    ConversionError,
    OAuthClientCredentials,
    RejectedError,
    Retry,
    TransientError,
    ZerobusWriter,
)
from beam_zerobus.delivery import limits
from beam_zerobus.delivery.decisions import Action, Situation, decide
from beam_zerobus.delivery.failures import FailureKind
from beam_zerobus.delivery.sdk_errors import ERRORS, translate
from beam_zerobus.emulator import Emulator, Faults, ScriptedFault

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL"
ROWS = pa.record_batch({"id": pa.array([1, 2], pa.int64())})
FORMATS = pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
PLACES = pytest.mark.parametrize("place", ["opening", "open"])
FINAL = {FailureKind.NOT_FOUND: ConfigurationError, FailureKind.FORBIDDEN: RejectedError}


@dataclass(frozen=True)
class Case:
    status: str
    number: int | None
    kind: FailureKind
    blocked: bool

    def __str__(self) -> str:
        return self.status if self.number is None else f"{self.status}-{self.number}"

    @property
    def message(self) -> str:
        return "so it is" if self.number is None else f"Error {self.number}: so it is"


CASES = [
    Case(status, row.number, row.kind, row.blocked)
    for row in ERRORS
    if row.source in ("status", "number")
    for status in row.conditions
    if status != "OK"
]


def cases(*kinds: FailureKind) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [case for case in CASES if case.kind in kinds], ids=str)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(memory=True, check_rows=True) as running:
        running.create_table(TABLE, DDL)
        yield running


@pytest.fixture
def write(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Send a batch of two rows while a fault strikes; returns the writer and the result."""
    monkeypatch.setattr(limits, "BLOCKED_PAUSE", 0.05)
    writers = []

    def send(case: Case, place: str, wire_format: str, *, times: int = 1, max_retries: int = 1):
        where = {"at_stream": 1} if place == "opening" else {"at_call": 1}
        kind = "reject" if place == "opening" else "status"
        fault = ScriptedFault(kind, code=case.status, message=case.message, times=times, **where)
        emulator.faults = Faults(script=(fault,))
        writer = ZerobusWriter(
            TABLE,
            endpoint=emulator.endpoint,
            workspace_url=emulator.workspace_url,
            credentials=OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
            schema="unity_catalog",
            wire_format=wire_format,
            retry=Retry(max_retries=max_retries, initial_backoff=0.01, max_backoff=0.02),
        )
        writers.append(writer)
        return writer, writer.submit(ROWS)

    yield send
    for writer in writers:
        writer.close(10)


@FORMATS
@PLACES
@cases(FailureKind.TRANSIENT)
def test_what_may_pass_is_tried_again(write, wire_format, place, case):
    writer, submission = write(case, place, wire_format)
    assert submission.result(30).success
    counters = writer.counters
    assert (counters.retries, counters.rows_written) == (1, 2)
    assert (counters.throttled_seconds > 0.05) is case.blocked


@FORMATS
@PLACES
@cases(FailureKind.TRANSIENT)
def test_what_does_not_pass_is_given_up_after_the_last_retry(write, wire_format, place, case):
    _, submission = write(case, place, wire_format, times=99)
    with pytest.raises(TransientError, match="failed 2 times") as error:
        submission.result(30)
    assert error.value.cause == f"{case.status}: {case.message}"
    assert error.value.unacknowledged_rows == 2


@pytest.mark.parametrize("what", ["batch", "record"])
def test_an_end_whose_status_the_sdk_has_not_read_is_learned_from_a_new_stream(what):
    """Seen on a busy machine only: of a service that ends a stream, the SDK says that it failed to send."""
    said = f"Stream is closed: code: 'Internal error', message: \"Failed to send {what}\""
    failure = translate(ZerobusException(said))
    assert decide(failure, Situation(calls_in_flight=3)) is Action.REOPEN
    assert decide(failure, Situation(calls_in_flight=3, reopened=True)) is Action.RETRY


@FORMATS
@PLACES
@cases(FailureKind.ROTATION)
def test_a_rotation_is_no_failure(write, wire_format, place, case):
    writer, submission = write(case, place, wire_format, max_retries=0)
    assert submission.result(30).success
    assert writer.counters.retries == 0


@FORMATS
def test_a_writer_follows_a_rotation(emulator, write, wire_format):
    case = Case("UNAVAILABLE", None, FailureKind.ROTATION, blocked=False)
    writer, submission = write(case, "open", wire_format, max_retries=0, times=1)
    with pytest.raises(TransientError):
        submission.result(30)
    emulator.faults = Faults(script=(ScriptedFault("close", at_call=1, delay=0.05),))
    for _ in range(10):
        assert writer.send_batch(ROWS).success
    assert writer.counters.retries == 0


@FORMATS
@PLACES
@cases(*FINAL)
def test_what_is_final_is_not_tried_again(emulator, write, wire_format, place, case):
    opened = emulator.stats.streams_opened
    injected = sum(emulator.stats.faults.values())
    writer, submission = write(case, place, wire_format, times=99, max_retries=9)
    with pytest.raises(FINAL[case.kind], match=case.message) as error:
        submission.result(30)
    assert TABLE in str(error.value)
    assert writer.counters.retries == 0
    # A table that is missing mid-stream may have been created again: one more stream shows it.
    expected = 2 if (place, case.kind) == ("open", FailureKind.NOT_FOUND) else 1
    assert sum(emulator.stats.faults.values()) - injected == expected
    assert emulator.stats.streams_opened - opened == (expected if place == "open" else 0)


@FORMATS
@cases(FailureKind.NOT_FOUND)
def test_a_table_that_is_missing_mid_stream_may_be_there_again(write, wire_format, case):
    writer, submission = write(case, "open", wire_format, max_retries=0)
    assert submission.result(30).success
    assert writer.counters.streams_opened == 2


@FORMATS
@cases(FailureKind.REJECTED)
def test_a_rejected_call_is_searched(write, wire_format, case):
    writer, submission = write(case, "open", wire_format, times=99, max_retries=0)
    result = submission.result(30)
    assert [(error.index, error.error_type) for error in result.failed_rows] == [
        (0, "rejected_by_service"),
        (1, "rejected_by_service"),
    ]
    assert all(case.message in error.message for error in result.failed_rows)
    assert writer.counters.retries == 0


@FORMATS
@cases(FailureKind.REJECTED)
def test_a_schema_that_is_rejected_at_opening_fails_at_once(emulator, write, wire_format, case):
    injected = emulator.stats.faults.get("reject", 0)
    _, submission = write(case, "opening", wire_format, times=99, max_retries=9)
    with pytest.raises(ConversionError, match=case.message):
        submission.result(30)
    assert emulator.stats.faults["reject"] - injected <= 2  # once more where the schema may have changed


@FORMATS
@PLACES
@cases(FailureKind.UNAUTHENTICATED)
def test_a_rejected_token_is_renewed_at_once(emulator, write, wire_format, place, case):
    tokens = emulator.stats.tokens_issued
    writer, submission = write(case, place, wire_format, max_retries=0)
    assert submission.result(30).success
    assert writer.counters.retries == 0
    # One reads the schema and one was rejected; the SDK too may say that, after the new one was fetched.
    assert emulator.stats.tokens_issued - tokens in (3, 4)


@FORMATS
@cases(FailureKind.UNAUTHENTICATED)
def test_a_new_token_that_is_rejected_too_is_final_at_opening(emulator, write, wire_format, case):
    injected = emulator.stats.faults.get("reject", 0)
    _, submission = write(case, "opening", wire_format, times=99, max_retries=9)
    with pytest.raises(AuthenticationError, match="rejected a new token"):
        submission.result(30)
    assert emulator.stats.faults["reject"] - injected == 2
