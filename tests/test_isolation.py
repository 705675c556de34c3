from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus.isolation import PROBES, isolate


def run(count: int, bad: set[int], written: list[int] | None = None) -> tuple[dict[int, str], int]:
    """Drive a search as the service would answer it; return what it found and how many calls it took."""
    search, answer, calls = isolate(count, "refused"), None, 0
    try:
        while True:
            rows = search.send(answer)
            calls += 1
            found = [row for row in rows if row in bad]
            answer = f"row {found[0]} is bad" if found else None
            if not found and written is not None:
                written.extend(rows)
    except StopIteration as end:
        return end.value, calls


@given(st.data())
def test_exactly_the_bad_rows_are_found_in_a_small_call(data):
    count = data.draw(st.integers(1, 256))
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    refused, calls = run(count, bad)
    assert set(refused) == bad
    assert calls <= 2 * count


@given(st.data())
def test_exactly_the_bad_rows_are_found_in_a_large_call_unless_most_are_bad(data):
    count = data.draw(st.integers(257, 20_000))
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=PROBES - 1))
    refused, _ = run(count, bad)
    assert set(refused) == bad


@given(st.integers(1, 5000), st.data())
def test_each_row_is_sent_successfully_at_most_once(count, data):
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=20))
    written: list[int] = []
    refused, _ = run(count, bad, written)
    assert sorted([*written, *refused]) == list(range(count))


@given(st.sets(st.integers(0, 99_999), min_size=10, max_size=10))
def test_ten_bad_rows_of_a_hundred_thousand_cost_at_most_300_calls(bad):
    refused, calls = run(100_000, bad)
    assert set(refused) == bad
    assert calls <= 300


def test_a_call_whose_rows_are_all_bad_is_recognized_after_a_few_calls():
    refused, calls = run(100_000, set(range(100_000)))
    assert len(refused) == 100_000
    assert calls == PROBES
    assert "refused as a whole" in refused[3]


def test_the_reason_of_a_row_found_by_inference_is_that_of_the_call_that_held_it_alone_with_good_rows():
    refused, _ = run(8, {6})
    assert refused == {6: "row 6 is bad"}
