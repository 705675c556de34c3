import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus import ConfigurationError, Retry, TransientError
from beam_zerobus.delivery.retry import Backoff, Breaker, retry_transient
from beam_zerobus.workspace.retry_after import MAX_RETRY_AFTER


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


def test_a_wait_that_the_service_asks_for_is_followed_within_a_limit():
    backoff = Backoff(Retry(initial_backoff=0, max_backoff=0))
    assert backoff.next_wait(7.0) == 7.0
    assert backoff.next_wait(1e9) == MAX_RETRY_AFTER
    assert backoff.next_wait() == 0


def test_a_transient_error_is_tried_again_until_no_retry_is_left():
    waits, tries = [], iter([TransientError("1"), TransientError("2"), "answer", TransientError("3")])

    def call():
        result = next(tries)
        if isinstance(result, TransientError):
            raise result
        return result

    retry = Retry(max_retries=2, initial_backoff=0.5)
    assert retry_transient(call, retry, sleep=waits.append) == "answer"
    assert [wait <= limit for wait, limit in zip(waits, [0.5, 1.0], strict=True)] == [True, True]
    with pytest.raises(TransientError, match="3"):
        retry_transient(call, Retry(max_retries=0), sleep=waits.append)
    assert len(waits) == 2


def test_a_count_without_end_does_not_overflow():
    backoff = Backoff(Retry(max_retries=5000, initial_backoff=0.1, max_backoff=1.0))
    assert all(0 <= backoff.next_wait() <= 1.0 for _ in range(5000))
