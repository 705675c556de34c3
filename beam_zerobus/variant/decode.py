"""Variant to JSON text, value by value; every byte is checked, since it may be from anywhere."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from json.encoder import encode_basestring

import pyarrow as pa

from beam_zerobus.variant.layout import ARRAY, LONG_STRING, MAX_DEPTH, OBJECT, SHORT_STRING, SORTED_KEYS, VERSION
from beam_zerobus.variant.primitives import PRIMITIVES

__all__ = ["MalformedVariantError", "decode_variants"]


class MalformedVariantError(ValueError):
    """Bytes that are not a Variant.

    Attributes:
        position: Of the value in its array.
    """

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.position = position


class _MalformedError(Exception):
    pass


def decode_variants(variants: pa.StructArray) -> pa.Array:
    r"""Return the JSON text of each Variant (large_string), null for null.

    Members of objects are in the order of their names. Numbers keep their digits. Dates, times, timestamps and UUIDs
    become text, binary becomes base64.

    Args:
        variants: An array of `VARIANT_TYPE`.

    Raises:
        MalformedVariantError: A value breaks the rules of the encoding.

    Example:
        >>> metadata, value = b"\x11\x01\x00\x01a", b"\x02\x01\x00\x00\x02\x0c\x01"
        >>> fields = {"metadata": pa.array([metadata]), "value": pa.array([value])}
        >>> decode_variants(pa.StructArray.from_arrays(fields.values(), names=fields)).to_pylist()
        ['{"a":1}']
    """
    texts: list[str | None] = []
    keys_of = cache(_keys)  # of this call only: most rows have the same keys, and metadata may be large
    valid = variants.is_valid().to_pylist()
    pairs = zip(variants.field(0).to_pylist(), variants.field(1).to_pylist(), strict=True)
    for position, (metadata, value) in enumerate(pairs):
        if not valid[position]:
            texts.append(None)
            continue
        if metadata is None or value is None:
            raise MalformedVariantError("has no metadata or no value", position)
        try:
            texts.append(_Value(value, keys_of(metadata)).text())
        except _MalformedError as error:
            raise MalformedVariantError(str(error), position) from None
    return pa.array(texts, pa.large_string())


def _keys(metadata: bytes) -> tuple[str, ...]:
    """Return the keys of a row's dictionary."""
    if not metadata or metadata[0] & 0x0F != VERSION:
        raise _MalformedError("has metadata of another version than 1")
    width = (metadata[0] >> 6) + 1
    count = int.from_bytes(metadata[1 : 1 + width], "little")
    start = 1 + width * (count + 2)
    if len(metadata) < start:
        raise _MalformedError("has metadata that is cut off")
    offsets = _numbers(metadata, 1 + width, count + 1, width)
    if offsets[0] or offsets != sorted(offsets) or start + offsets[-1] != len(metadata):
        raise _MalformedError("has metadata with wrong offsets")
    keys = [metadata[start + offsets[i] : start + offsets[i + 1]] for i in range(count)]
    if metadata[0] & SORTED_KEYS and any(one >= other for one, other in pairwise(keys)):
        raise _MalformedError("has metadata that is not sorted, as its header says")
    try:
        return tuple(key.decode() for key in keys)
    except UnicodeDecodeError:
        raise _MalformedError("has a key that is not UTF-8") from None


def _numbers(data: bytes, start: int, count: int, width: int) -> list[int]:
    end = start + count * width
    if width == 1:
        return list(data[start:end])
    return [int.from_bytes(data[at : at + width], "little") for at in range(start, end, width)]


class _Value:
    """One value.

    Invariant: `_unread` bytes have not been read; it only falls. So values that share their bytes, which could be
    small and print without end, are malformed.
    """

    def __init__(self, data: bytes, keys: tuple[str, ...]) -> None:
        self._data = data
        self._keys = keys
        self._unread = len(data)

    def text(self) -> str:
        parts: list[str] = []
        end = self._write(0, parts, 0)
        if end != len(self._data):
            raise _MalformedError("has bytes after its value")
        return "".join(parts)

    def _take(self, start: int, length: int) -> bytes:
        taken = self._data[start : start + length]
        self._unread -= length
        if len(taken) < length or self._unread < 0:
            raise _MalformedError("is cut off")
        return taken

    def _write(self, start: int, parts: list[str], depth: int) -> int:
        """Append the text of the value at a position; return the position after it."""
        header = self._take(start, 1)[0]
        kind, start = header & 3, start + 1
        if kind == SHORT_STRING:
            parts.append(_quoted(self._take(start, header >> 2)))
            return start + (header >> 2)
        if kind in (OBJECT, ARRAY):
            if depth == MAX_DEPTH:
                raise _MalformedError("nests too deep")
            return self._write_many(header, start, parts, depth)
        if header == LONG_STRING:
            length = int.from_bytes(self._take(start, 4), "little")
            parts.append(_quoted(self._take(start + 4, length)))
            return start + 4 + length
        return self._write_primitive(header, start, parts)

    def _write_primitive(self, header: int, start: int, parts: list[str]) -> int:
        primitive = PRIMITIVES.get(header)
        if primitive is None:
            raise _MalformedError("has an unknown type")
        width, to_text = primitive
        if width is None:
            width = int.from_bytes(self._take(start, 4), "little")
            start += 4
        text = to_text(self._take(start, width))
        if text is None:
            raise _MalformedError("has a value out of range")
        parts.append(text)
        return start + width

    def _write_many(self, header: int, start: int, parts: list[str], depth: int) -> int:
        is_object = header & 3 == OBJECT
        width = (header >> 2 & 3) + 1
        large = header >> (6 if is_object else 4) & 1
        if header >> (7 if is_object else 5):
            raise _MalformedError("has an unknown header")
        count_width = 4 if large else 1
        count = int.from_bytes(self._take(start, count_width), "little")
        start += count_width
        keys: list[str] = []
        if is_object:
            id_width = (header >> 4 & 3) + 1
            keys = self._names(_numbers(self._take(start, count * id_width), 0, count, id_width))
            start += count * id_width
        offsets = _numbers(self._take(start, (count + 1) * width), 0, count + 1, width)
        start += (count + 1) * width
        parts.append("{" if is_object else "[")
        last = 0
        for position in range(count):
            if position:
                parts.append(",")
            if is_object:
                parts.append(encode_basestring(keys[position]) + ":")
            elif offsets[position] != last:
                raise _MalformedError("has an array with wrong offsets")
            end = self._write(start + offsets[position], parts, depth + 1)
            last = max(last, end - start)
        if last != offsets[-1]:
            raise _MalformedError("has wrong offsets")
        parts.append("}" if is_object else "]")
        return start + last

    def _names(self, ids: list[int]) -> list[str]:
        if any(number >= len(self._keys) for number in ids):
            raise _MalformedError("has a field id that is not in its metadata")
        names = [self._keys[number] for number in ids]
        if any(one >= other for one, other in pairwise(names)):
            raise _MalformedError("has fields that are not in the order of their names")
        return names


def _quoted(text: bytes) -> str:
    try:
        return encode_basestring(text.decode())
    except UnicodeDecodeError:
        raise _MalformedError("has text that is not UTF-8") from None
