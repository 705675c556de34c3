"""What attributes may hold."""

from __future__ import annotations

from beam_zerobus.errors import RejectedError, RowError, TransientError
from beam_zerobus.telemetry.redaction import attributes_of, describe_error, label


def test_free_text_becomes_other() -> None:
    assert label("UNAVAILABLE") == "UNAVAILABLE"
    for text in ("Bearer abc", "http://x", "", "a" * 65, None, b"bytes"):
        assert label(text) == "other"


def test_attributes_keep_numbers_and_short_names() -> None:
    assert attributes_of({"cause": "DEADLINE_EXCEEDED", "rows": 3, "wait_seconds": 0.5, "why": "value 'Alice'"}) == {
        "beam_zerobus.cause": "DEADLINE_EXCEEDED",
        "beam_zerobus.rows": 3,
        "beam_zerobus.wait_seconds": 0.5,
        "beam_zerobus.why": "other",
    }


def test_only_messages_of_this_package_are_kept() -> None:
    assert describe_error(ValueError("could not convert 'Alice'")) == "ValueError"
    assert describe_error(TransientError("gave up", attempts=3)) == "gave up"
    rows = [RowError(index, "rejected_by_service", "value 'Alice'", "service") for index in range(2)]
    assert describe_error(RejectedError("value 'Alice'", row_errors=rows)) == (
        "2 rows rejected: rejected_by_service (2)"
    )
