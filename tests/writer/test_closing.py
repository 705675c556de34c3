"""Writers that several threads close."""

import threading
from contextlib import suppress

import pyarrow as pa
import pytest

from beam_zerobus import ClosedError, ZerobusError
from beam_zerobus.emulator import Faults, ScriptedFault

DDL = "id BIGINT NOT NULL"
BATCH = pa.record_batch({"id": pa.array(range(7), pa.int64())})


def test_a_close_with_a_limit_leaves_nothing_without_an_outcome_though_another_thread_waits_longer(emulator, connect):
    """As at the end of a process, where a daemon thread that closes a dropped writer is stopped in the middle."""
    emulator.create_table("main.iot.air", DDL)
    emulator.faults = Faults(script=(ScriptedFault("hang", at_call=1),))
    writer = connect(schema=DDL)
    submission = writer.submit(BATCH)

    def close_without_limit():
        with suppress(ZerobusError):
            writer.close()

    thread = threading.Thread(target=close_without_limit)
    thread.start()
    with suppress(ClosedError):  # until the thread has begun
        while True:
            writer.submit(BATCH.slice(0, 0))
    assert not submission.done
    with suppress(ClosedError):  # the thread may be the one that raises it
        writer.close(timeout=0.2)
    assert submission.done
    with pytest.raises(ClosedError, match="before the batch was"):
        submission.result(0)
    thread.join(30)
    assert not thread.is_alive()
