"""How often a search may open streams, with a clock of the test's own."""

import logging

from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus.delivery import limits
from beam_zerobus.delivery.rate_limiter import StreamRateLimiter


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@given(st.lists(st.floats(0, 5), max_size=400))
def test_no_minute_has_more_streams_than_the_limit(pauses):
    clock = Clock()
    limiter, opened = StreamRateLimiter("main.iot.air", clock), []
    for pause in pauses:
        clock.now += pause
        wait = limiter.seconds_until_search(0)
        assert wait <= limits.STREAM_WINDOW
        clock.now += wait
        assert limiter.seconds_until_search(0) == 0.0
        limiter.opened()
        opened.append(clock.now)
    for first, later in zip(opened, opened[limits.MAX_STREAMS :], strict=False):
        assert later - first > limits.STREAM_WINDOW - 0.001


def test_the_limit_is_below_the_one_at_which_the_sdk_warns():
    assert (limits.MAX_STREAMS + limits.SPARE_STREAMS) * 60 / limits.STREAM_WINDOW < 100


def test_it_warns_at_most_once_in_ten_seconds(caplog):
    clock = Clock()
    limiter = StreamRateLimiter("main.iot.air", clock)
    for _ in range(limits.MAX_STREAMS):
        limiter.opened()
    for _ in range(12):
        assert limiter.seconds_until_search(570)
        clock.now += 1.0
    records = [record for record in caplog.records if record.name == "beam_zerobus.delivery.rate_limiter"]
    said = [record.message for record in records if record.levelno == logging.WARNING]
    assert said[0] == (
        "Zerobus rejects rows of table main.iot.air, and each rejected call costs a stream: 90 streams were opened "
        "within 60 s, so the search for the rejected rows goes on in 60 s; 570 rows have no outcome yet. Correct what "
        "produces the rejected rows"
    )
    assert len(said) == 2
