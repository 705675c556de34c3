"""What to do about a failed stream: each row of the table in docs/delivery.md, and nothing that is not there."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus.delivery.decisions import Action, Situation, decide
from beam_zerobus.delivery.failures import FailureKind, StreamFailure

PAGE = Path(__file__).parents[2] / "docs" / "delivery.md"


def failure(kind, *, while_opening=False, schema_changed=False):
    made = StreamFailure(kind, kind.name, "the service's words")
    made.while_opening = while_opening
    made.schema_changed = schema_changed
    return made


CASES = {
    ("a rotation (about every 15 minutes)", "something was acknowledged since the last one"): (
        failure(FailureKind.ROTATION),
        Situation(calls_in_flight=3),
    ),
    ("a rotation", "nothing was"): (failure(FailureKind.ROTATION), Situation(reopened=True)),
    ("`UNAUTHENTICATED`", "the token was not renewed since the last acknowledgement"): (
        failure(FailureKind.UNAUTHENTICATED),
        Situation(calls_in_flight=1),
    ),
    ("`UNAUTHENTICATED` mid-stream", "a new token was fetched already"): (
        failure(FailureKind.UNAUTHENTICATED),
        Situation(calls_in_flight=1, token_renewed=True),
    ),
    ("`UNAUTHENTICATED` at opening", "a new token was fetched already"): (
        failure(FailureKind.UNAUTHENTICATED, while_opening=True),
        Situation(token_renewed=True),
    ),
    ("a lost connection, `UNAVAILABLE`, `INTERNAL` and every other transient status", ""): (
        failure(FailureKind.TRANSIENT),
        Situation(calls_in_flight=2),
    ),
    ("a schema that changed, or `INVALID_ARGUMENT` at opening", "it was not fetched since the rows were encoded"): (
        failure(FailureKind.REJECTED, while_opening=True),
        Situation(),
    ),
    ("`INVALID_ARGUMENT`", "several calls were in flight"): (
        failure(FailureKind.REJECTED),
        Situation(calls_in_flight=2),
    ),
    ("`INVALID_ARGUMENT`", "one call was in flight"): (
        failure(FailureKind.REJECTED, schema_changed=True),
        Situation(calls_in_flight=1, schema_confirmed=True),
    ),
    ("a call that the SDK itself does not accept", "no call was in flight"): (
        failure(FailureKind.REJECTED),
        Situation(),
    ),
    ("`INVALID_ARGUMENT` at opening", "the schema was fetched again, and has not changed"): (
        failure(FailureKind.REJECTED, while_opening=True),
        Situation(schema_confirmed=True),
    ),
    ("a missing table, at opening", ""): (failure(FailureKind.NOT_FOUND, while_opening=True), Situation()),
    ("a missing table, mid-stream", "something was acknowledged since a stream was reopened"): (
        failure(FailureKind.NOT_FOUND),
        Situation(calls_in_flight=1),
    ),
    ("a missing table, mid-stream", "nothing was"): (failure(FailureKind.NOT_FOUND), Situation(reopened=True)),
    ("a missing grant, or a table that Zerobus cannot write", ""): (failure(FailureKind.FORBIDDEN), Situation()),
}


def documented():
    """Return the rows of the page's table: failure, circumstance, action."""
    section = PAGE.read_text().split("## When a stream fails")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return [(row[0], row[1], row[3].strip("`")) for row in cells[2:]]


def test_the_page_and_the_cases_have_the_same_rows():
    assert [row[:2] for row in documented()] == list(CASES)


@pytest.mark.parametrize(("said", "circumstance", "action"), documented())
def test_the_decision_is_what_the_page_says(said, circumstance, action):
    assert decide(*CASES[said, circumstance]) is Action[action]


situations = st.builds(
    Situation,
    calls_in_flight=st.integers(0, 5),
    schema_confirmed=st.booleans(),
    reopened=st.booleans(),
    token_renewed=st.booleans(),
)


@given(st.sampled_from(FailureKind), situations, st.booleans(), st.booleans())
def test_nothing_that_may_pass_is_given_up_and_nothing_final_is_tried_for_ever(kind, situation, opening, changed):
    met = failure(kind, while_opening=opening, schema_changed=changed)
    action = decide(met, situation)
    if kind in (FailureKind.TRANSIENT, FailureKind.ROTATION):
        assert action is not Action.FAIL
    may_be_new = kind is FailureKind.NOT_FOUND and not (opening or situation.reopened)
    if kind in (FailureKind.NOT_FOUND, FailureKind.FORBIDDEN) and (situation.schema_confirmed or not changed):
        assert action is (Action.REOPEN if may_be_new else Action.FAIL)
    if action in (Action.REOPEN, Action.RENEW_TOKEN):  # free of backoff, hence once between two acknowledgements
        again = Situation(reopened=action is Action.REOPEN, token_renewed=action is Action.RENEW_TOKEN)
        assert decide(met, again) not in (Action.REOPEN, Action.RENEW_TOKEN)
    if action is Action.REFRESH_SCHEMA:
        assert not situation.schema_confirmed
