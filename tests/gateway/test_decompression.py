"""A small message that needs much memory once Arrow has decompressed it, which is before any check of ours."""

from __future__ import annotations

import sys

import grpc
import numpy as np
import pyarrow as pa
import pytest

from tests.gateway import wire
from tests.gateway.conftest import batch
from tests.gateway.process import process


def test_a_message_that_says_it_needs_more_memory_than_there_is_ends_its_call(start, table):
    schema, (header, body) = wire.messages([batch(*range(1_000))], "zstd")
    uncompressed = (8 * 1_000).to_bytes(8, "little")  # the length before the column's compressed bytes
    assert body.count(uncompressed) == 1
    sent = [schema, wire.Message(header, body.replace(uncompressed, (1 << 60).to_bytes(8, "little")))]
    with grpc.insecure_channel(start().location.removeprefix("grpc://")) as channel:
        [answer] = wire.call(channel, wire.named(sent))
        assert b'"status":"INVALID_ARGUMENT","error":"A message needs more memory, once it is decompressed, ' in answer
        assert b'"success":true' in wire.call(channel, wire.named(wire.messages([batch(1)])))[0]
    assert table.count_rows() == 1


@pytest.mark.hostile
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not enforce the limit")
def test_with_a_limit_of_the_system_a_decompressed_message_ends_its_call_and_not_the_gateway(emulator, table):
    zeros = pa.record_batch({"id": pa.array(np.zeros(1 << 28, np.int64))})
    sent = wire.messages([zeros], "zstd")
    assert sum(len(message.body) for message in sent) < 100_000 < zeros.nbytes >> 14
    with process(emulator, data_limit=1_700_000_000) as (run, location):
        with grpc.insecure_channel(location.removeprefix("grpc://")) as channel:
            for _ in range(3):
                [answer] = wire.call(channel, wire.named(sent), timeout=60)
                assert (
                    b"A message needs more memory, once it is decompressed, than the gateway may use (malloc of"
                    in answer
                )
            assert b'"success":true' in wire.call(channel, wire.named(wire.messages([batch(1)])), timeout=60)[0]
        assert run.poll() is None
    assert table.count_rows() == 1
