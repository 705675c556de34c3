"""Threads that need a token at the same time share one request."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator

import pytest

from beam_zerobus import (
    TransientError,
    ZerobusError,
)
from beam_zerobus.workspace import http
from beam_zerobus.workspace.single_flight import SingleFlight
from tests.hostile.http_server import Request, dripped, whole
from tests.hostile.workspace_calls import (
    TOKEN,
    endless,
    source,
)


def run_in_threads(count: int, work: Callable[[], object]) -> list[object]:
    barrier, outcomes = threading.Barrier(count), []

    def run() -> None:
        barrier.wait()
        try:
            outcomes.append(work())
        except ZerobusError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_threads_share_one_request_that_hangs(serve, monkeypatch):
    monkeypatch.setattr(http, "REQUEST_LIMIT", 2.0)
    server = serve(dripped(b"", endless(b""), lambda: server))
    outcomes = run_in_threads(32, source(server.url).headers)
    assert {type(outcome) for outcome in outcomes} == {TransientError}
    assert len({id(outcome) for outcome in outcomes}) == 32
    assert len(server.requests) <= 3  # one, and what a starved thread started later; one after another they were 32


def test_threads_share_one_token(serve):
    released = threading.Event()

    def answer(request: Request) -> Iterator[bytes]:
        released.wait(20)
        return whole(200, TOKEN)(request)

    server = serve(answer)
    tokens = source(server.url)
    threading.Timer(0.2, released.set).start()
    outcomes = run_in_threads(32, tokens.headers)
    assert all(outcome == outcomes[0] for outcome in outcomes)
    assert len(server.requests) == 1


def test_a_token_that_was_asked_for_before_it_was_rejected_is_not_kept(serve):
    asked, released, numbers = threading.Event(), threading.Event(), itertools.count()

    def answer(request: Request) -> Iterator[bytes]:
        number = next(numbers)
        if number == 0:
            asked.set()
            released.wait(20)
        return whole(200, {"access_token": f"token-{number}"})(request)

    tokens, results = source(serve(answer).url), []
    first = threading.Thread(target=lambda: results.append(dict(tokens.headers())), daemon=True)
    first.start()
    assert asked.wait(20)
    tokens.invalidate()
    assert dict(tokens.headers())["authorization"] == "Bearer token-1"
    released.set()
    first.join()
    assert results[0]["authorization"] == "Bearer token-0"
    assert dict(tokens.headers())["authorization"] == "Bearer token-1"


def test_a_thread_that_is_interrupted_leaves_the_work_to_another():
    flight, inside, go = SingleFlight[str](limit=20.0), threading.Event(), threading.Event()

    def interrupted() -> str:
        inside.set()
        go.wait(20)
        raise KeyboardInterrupt

    def first() -> None:
        with pytest.raises(KeyboardInterrupt):
            flight.run(interrupted)

    results: list[str] = []
    threads = [threading.Thread(target=first, daemon=True)]
    threads[0].start()
    assert inside.wait(20)
    threads.append(threading.Thread(target=lambda: results.append(flight.run(lambda: "done")), daemon=True))
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join()
    assert results == ["done"]


def test_a_thread_waits_for_another_one_only_so_long():
    flight, inside, go = SingleFlight[None](limit=0.2), threading.Event(), threading.Event()

    def hang() -> None:
        inside.set()
        go.wait(20)

    thread = threading.Thread(target=flight.run, args=(hang,), daemon=True)
    thread.start()
    assert inside.wait(20)
    with pytest.raises(TransientError, match="did not end within 0.2 s"):
        flight.run(lambda: None)
    go.set()
    thread.join()
