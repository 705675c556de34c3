import random

from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus.delivery.search import ROW_PROBES, SCHEMA_PROBES, SearchResult, isolate


def run(
    count: int,
    bad: set[int],
    written: list[int] | None = None,
    *,
    probes: int = ROW_PROBES,
    said: str = "row {} is bad",
) -> tuple[SearchResult, int]:
    """Drive a search as the service would answer it; return what it found and how many calls it took."""
    search, answer, calls = isolate(count, "rejected", probes=probes), None, 0
    try:
        while True:
            rows = search.send(answer)
            calls += 1
            found = [row for row in rows if row in bad]
            answer = said.format(found[0]) if found else None
            if not found and written is not None:
                written.extend(rows)
    except StopIteration as end:
        return end.value, calls


@given(st.data())
def test_exactly_the_bad_rows_are_found_in_a_small_call(data):
    count = data.draw(st.integers(1, 2 * ROW_PROBES))
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    found, calls = run(count, bad)
    assert (set(found.rejected), found.given_up) == (bad, None)
    assert calls <= 2 * count


@given(st.data())
def test_exactly_the_bad_rows_are_found_in_a_large_call(data):
    count = data.draw(st.integers(2 * ROW_PROBES + 1, 20_000))
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=ROW_PROBES - 1))
    found, calls = run(count, bad)
    assert (set(found.rejected), found.given_up) == (bad, None)
    assert calls <= ROW_PROBES + 1 + 2 * len(bad) * (count.bit_length() + 1)


@given(st.integers(1, 5000), st.data())
def test_each_row_is_sent_successfully_at_most_once(count, data):
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=20))
    written: list[int] = []
    found, _ = run(count, bad, written)
    assert sorted([*written, *found.rejected]) == list(range(count))


@given(st.sets(st.integers(0, 99_999), min_size=10, max_size=10))
def test_ten_bad_rows_of_a_hundred_thousand_cost_at_most_300_calls(bad):
    found, calls = run(100_000, bad)
    assert set(found.rejected) == bad
    assert calls <= 300


@given(st.integers(2 * ROW_PROBES + 1, 2_000), st.integers(0))
def test_where_nineteen_rows_in_twenty_are_bad_the_good_ones_are_written(count, seed):
    good = set(random.Random(seed).sample(range(count), count // 20))
    written: list[int] = []
    found, calls = run(count, set(range(count)) - good, written, said="column 'a' is rejected")
    if found.given_up is None:
        assert set(written) == good
        assert set(found.rejected) == set(range(count)) - good
    else:  # no good row was among the probes, which happens to one call in two hundred: nothing is said of the rest
        assert len(found.rejected) == ROW_PROBES
    assert calls <= 2 * count


def test_a_call_whose_rows_are_all_bad_is_given_up_and_tells_tried_from_untried():
    for probes in (SCHEMA_PROBES, ROW_PROBES):
        found, calls = run(100_000, set(range(100_000)), probes=probes, said="column 'a' is not in the table")
        assert calls == len(found.rejected) == probes
        assert found.given_up == (
            f"{probes} rows spread over the call were tried, and each was rejected: column 'a' is not in the table"
        )


def test_a_call_whose_rows_are_all_bad_for_reasons_of_their_own_is_tried_to_the_end():
    found, calls = run(1_000, set(range(1_000)))
    assert (len(found.rejected), found.given_up) == (1_000, None)
    assert calls <= 2_000


def test_the_reason_of_a_row_found_by_inference_is_that_of_the_call_that_held_it_alone_with_good_rows():
    found, _ = run(8, {6})
    assert found.rejected == {6: "row 6 is bad"}
