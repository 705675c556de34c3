"""The span of a batch is a child of the client's span."""

from __future__ import annotations

import pytest
from pyarrow import flight

from beam_zerobus import Telemetry
from beam_zerobus.telemetry import providers
from tests.gateway.conftest import batch, put
from tests.telemetry.receiver import Receiver

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("name", [b"traceparent", b"Traceparent"])
def test_the_traceparent_of_the_call_is_the_parent_of_each_batch(start, table, name):
    options = flight.FlightCallOptions(headers=[(name.lower(), f"00-{TRACE}-{PARENT}-01".encode())])
    with Receiver() as receiver:
        gateway = start(defaults={"telemetry": Telemetry(endpoint=receiver.endpoint)})
        with flight.connect(gateway.location) as client:
            put(client, [batch(1), batch(2)], options=options)
            put(client, [batch(3)])
        providers.shutdown()
        spans = [span for span in receiver.seen.spans if span.kind == 3]  # CLIENT: one a batch
    children = [span for span in spans if span.trace_id == TRACE]
    assert [span.parent_id for span in children] == [PARENT] * 2
    [other] = [span for span in spans if span not in children]
    assert not other.parent_id
