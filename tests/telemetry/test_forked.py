"""Forked children export for themselves, and repeat nothing."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.telemetry.receiver import Receiver
from tests.telemetry.scripts import run


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("used_before", [True, pytest.param(False, marks=pytest.mark.hostile)])
def test_forked_children_export_for_themselves(
    used_before: bool, protocol: str, receive: Callable[..., Receiver]
) -> None:
    receiver = receive(protocol)
    run(
        """
        options = Telemetry(endpoint=sys.argv[1], protocol=sys.argv[2], flush_timeout=30.0, export_interval=0.5)
        recorder = open_recorder(options, table="a.b.c", wire_format="proto")
        recorder.stream_opened()
        if sys.argv[3] == "True":
            send(recorder)
            recorder.flush()
        children = []
        for _ in range(2):
            pid = os.fork()
            if not pid:
                for _ in range(3):
                    send(recorder)
                recorder.flush()
                os._exit(0)
            children.append(pid)
        for pid in children:
            assert os.waitpid(pid, 0)[1] == 0
        send(recorder)
        recorder.close()
        print("null")
        """,
        receiver.endpoint,
        protocol,
        str(used_before),
    )
    parents = 2 if used_before else 1
    assert receiver.seen.total("beam_zerobus.rows") == (6 + parents) * 10
    assert receiver.seen.total("beam_zerobus.streams_opened") == 1
    assert len(receiver.seen.named("send a.b.c")) == 6 + parents
    assert len({span.resource["process.pid"] for span in receiver.seen.spans}) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_child_of_an_instrumented_program_does_not_repeat_the_parents_counts() -> None:
    found = run("""
        spans, reader = install()
        recorder = open_recorder(None, table="a.b.c", wire_format="proto")
        send(recorder)
        reading, writing = os.pipe()
        if not os.fork():
            send(recorder)
            os.write(writing, str(total(reader, "beam_zerobus.rows")).encode())
            os._exit(0)
        print(json.dumps(int(os.read(reading, 10))))
    """)
    assert found == 10
