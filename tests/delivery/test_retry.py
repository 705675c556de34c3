import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus import ConfigurationError, Retry
from beam_zerobus.delivery.retry import Backoff, Breaker


@given(st.integers(0, 8), st.floats(0, 2), st.floats(2, 60))
def test_waits_are_within_full_jitter_and_end_after_the_last_retry(retries, initial, longest):
    backoff = Backoff(Retry(max_retries=retries, initial_backoff=initial, max_backoff=longest))
    for attempt in range(retries):
        wait = backoff.next_wait()
        assert wait is not None
        assert 0 <= wait <= min(longest, initial * 2**attempt)
    assert backoff.next_wait() is None


def test_jitter_spreads_the_waits():
    waits = {Backoff(Retry(initial_backoff=1)).next_wait() for _ in range(20)}
    assert len(waits) > 10


def test_progress_starts_the_count_anew():
    backoff = Backoff(Retry(max_retries=1, initial_backoff=0))
    assert backoff.next_wait() is not None
    backoff.reset()
    assert backoff.next_wait() is not None
    assert backoff.next_wait() is None


@pytest.mark.parametrize(
    "wrong", [{"max_retries": -1}, {"max_retries": 1.5}, {"initial_backoff": -1}, {"initial_backoff": 31}]
)
def test_wrong_numbers_are_rejected(wrong):
    with pytest.raises(ConfigurationError, match=f"Retry.{next(iter(wrong))}"):
        Retry(**wrong)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_breaker_opens_when_most_calls_of_the_window_fail_and_closes_after_its_pause():
    clock = Clock()
    breaker = Breaker(threshold=0.5, window=10, min_calls=4, pause=2, clock=clock)
    breaker.succeeded(2)
    assert breaker.failed() == 0  # three calls are too few to judge
    assert breaker.failed() == 2
    assert breaker.pause_left() == 2
    clock.now += 2
    assert breaker.pause_left() == 0
    assert breaker.failed() == 0  # the window began anew


def test_the_breaker_forgets_what_left_its_window():
    clock = Clock()
    breaker = Breaker(threshold=0.5, window=10, min_calls=4, pause=2, clock=clock)
    for _ in range(3):
        breaker.failed()
    clock.now += 11
    breaker.succeeded(3)
    assert breaker.failed() == 0
