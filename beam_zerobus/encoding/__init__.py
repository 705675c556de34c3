"""Wire formats: each turns a RecordBatch that fits the table into payloads below the call limit."""

from beam_zerobus.encoding.base import MAX_CALL_BYTES, Encoder, Payload

__all__ = ["MAX_CALL_BYTES", "Encoder", "Payload"]
