"""Messages of a client, damaged by chance."""

from __future__ import annotations

import random
from decimal import Decimal

import pyarrow as pa

from tests.gateway import wire

EVERY_KIND = """
    id BIGINT NOT NULL, device STRING, tags ARRAY<STRING>, limits MAP<STRING, BIGINT>, place STRUCT<city: STRING>,
    price DECIMAL(38,18), raw BINARY, flag BOOLEAN, cost DECIMAL(10,2), kind STRING, sizes ARRAY<BIGINT>, none STRING
"""


def batch_of_every_kind(chance: random.Random) -> pa.RecordBatch:
    """Return a few columns of many kinds, each in one of the forms that Arrow has for it."""
    columns = {
        "device": pa.array(["a", "é", None], chance.choice((pa.string(), pa.large_string(), pa.string_view()))),
        "tags": pa.array([["a", "b"], [], None], chance.choice((pa.list_(pa.string()), pa.large_list(pa.string())))),
        "limits": pa.array([[("low", 1)], [], None], pa.map_(pa.string(), pa.int64())),
        "place": pa.array([{"city": "Zürich"}, {"city": None}, None]),
        "price": pa.array([Decimal("1.50"), None, None], pa.decimal128(38, 18)),
        "raw": pa.array([b"raw", b"", None], chance.choice((pa.binary(), pa.binary_view()))),
        "cost": pa.array(
            [Decimal("1.5"), None, Decimal(2)], chance.choice((pa.decimal128(12, 3), pa.decimal256(40, 2)))
        ),
        "kind": pa.array(["indoor", "indoor", None]).dictionary_encode(),
        "sizes": pa.array([[1, 2], None, [3]], pa.list_view(pa.int64())),
        "none": pa.nulls(3),
        "flag": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([True, None])),
    }
    names = chance.sample(sorted(columns), chance.randint(1, len(columns)))
    return pa.record_batch({"id": [1, 2, 3], **{name: columns[name] for name in names}})


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return bytes with a few of them changed, or cut off, or doubled."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        if changed:
            changed[chance.randrange(len(changed))] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
    if chance.random() < 0.2:
        del changed[chance.randrange(len(changed) + 1) :]
    if chance.random() < 0.1:
        changed *= 2
    return bytes(changed)


def with_another_bit(content: bytes, chance: random.Random) -> bytes:
    """Return bytes with one bit changed, which more often leaves a message that can be read."""
    changed = bytearray(content)
    if changed:
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def mutated(sent: list[wire.Message], chance: random.Random) -> list[wire.Message]:
    """Return messages of which one or two are damaged, missing, doubled or mixed up."""
    sent = list(sent)
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(len(sent))
        header, body = sent[at]
        match chance.randrange(9):
            case 0 | 1:
                sent[at] = wire.Message(damaged(header, chance), body)
            case 2 | 3:
                sent[at] = wire.Message(header, damaged(body, chance))
            case 4:
                sent[at] = wire.Message(chance.choice(sent).header, chance.choice(sent).body)
            case 5:
                sent.insert(chance.randrange(len(sent)), chance.choice(sent))
            case 6 if len(sent) > 1:
                del sent[at]
            case 7:
                sent[at] = wire.Message(with_another_bit(header, chance), body)
            case 8:
                sent[at] = wire.Message(header, with_another_bit(body, chance))
    return sent
