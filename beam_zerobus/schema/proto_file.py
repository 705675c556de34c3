"""The table for messages of a ``.proto`` file, proto2 or proto3."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.types import MAX_NESTING, Array, DeltaType, Field, Map, Primitive, Struct

__all__ = ["read_proto"]

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<word>\.?[A-Za-z_][A-Za-z0-9_.]*)
      | (?P<other>[0-9][A-Za-z0-9_.+-]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[{}\[\]()<>=;,:+./-])""",
    re.VERBOSE | re.DOTALL,
)
_SCALARS = {
    "double": Primitive.DOUBLE,
    "float": Primitive.FLOAT,
    **dict.fromkeys(("int32", "sint32", "sfixed32"), Primitive.INT),
    **dict.fromkeys(("uint32", "fixed32", "int64", "sint64", "sfixed64", "uint64", "fixed64"), Primitive.BIGINT),
    "bool": Primitive.BOOLEAN,
    "string": Primitive.STRING,
    "bytes": Primitive.BINARY,
}
_WELL_KNOWN = {
    "google.protobuf.Timestamp": Primitive.TIMESTAMP,
    "google.protobuf.DoubleValue": Primitive.DOUBLE,
    "google.protobuf.FloatValue": Primitive.FLOAT,
    "google.protobuf.Int32Value": Primitive.INT,
    **dict.fromkeys(("google.protobuf.Int64Value", "google.protobuf.UInt32Value"), Primitive.BIGINT),
    "google.protobuf.UInt64Value": Primitive.BIGINT,
    "google.protobuf.BoolValue": Primitive.BOOLEAN,
    "google.protobuf.StringValue": Primitive.STRING,
    "google.protobuf.BytesValue": Primitive.BINARY,
}
_LABELS = ("required", "optional", "repeated")
_SKIPPED = ("option", "reserved", "extensions", "import", "syntax", "edition", "extend", "service")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    """A field as the file declares it; `key` is the type of a map's keys."""

    name: str
    number: int
    label: str
    type: str
    key: str | None = None


@dataclass(slots=True)
class _File:
    """What a file declares, by full names."""

    package: str = ""
    messages: dict[str, list[_Declared]] = field(default_factory=dict)
    enums: set[str] = field(default_factory=set)


def read_proto(text: str, message_name: str | None = None) -> TableSchema:
    """Return the columns for a message of a ``.proto`` file, in the order of the field numbers.

    Unsigned integers of 64 bits become BIGINT, enums INT, ``google.protobuf.Timestamp`` TIMESTAMP. A required field is
    NOT NULL, every other one nullable.

    Args:
        text: The file.
        message_name: The message; None for the only one that no other message holds.

    Raises:
        ConfigurationError: The text is not a .proto file, there is no such message, or a table cannot hold a field.

    Example:
        >>> read_proto('syntax = "proto3"; message Reading { string device = 1; repeated double values = 2; }').to_ddl()
        'device STRING, values ARRAY<DOUBLE>'
    """
    found = _Reader(text).file()
    name = _chosen(found, message_name)
    return TableSchema(_fields(found, name, inside=(name,)))


class _Reader:
    """Reads declarations, and skips what says nothing about columns."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split())
        self._next = 0

    def _split(self) -> Iterator[tuple[str, int]]:
        position = 0
        while position < len(self._text):
            match = _TOKEN.match(self._text, position)
            if match is None:
                raise self._error(position, f"unexpected character {self._text[position]!r}")
            if match.lastgroup != "space":
                yield match.group(), position
            position = match.end()

    def _error(self, position: int, message: str) -> ConfigurationError:
        return ConfigurationError(f".proto file, line {self._text.count(chr(10), 0, position) + 1}: {message}")

    def _wrong(self, wanted: str) -> ConfigurationError:
        if self._next < len(self._tokens):
            token, position = self._tokens[self._next]
            return self._error(position, f"expected {wanted}, found {token[:40]!r}")
        return self._error(len(self._text), f"expected {wanted}, found the end")

    def _peek(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        if not token:
            raise self._wrong("more")
        self._next += 1
        return token

    def _expect(self, token: str) -> None:
        if self._peek() != token:
            raise self._wrong(repr(token))
        self._next += 1

    def _word(self) -> str:
        if not re.match(r"\.?[A-Za-z_]", self._peek()):
            raise self._wrong("a name")
        return self._take()

    def file(self) -> _File:
        found = _File()
        while self._peek():
            match self._peek():
                case "package":
                    self._next += 1
                    found.package = self._word()
                    self._expect(";")
                case "message":
                    self._message(found, found.package)
                case "enum":
                    self._enum(found, found.package)
                case ";":
                    self._next += 1
                case word if word in _SKIPPED:
                    self._skip()
                case _:
                    raise self._wrong("message, enum or another declaration")
        return found

    def _skip(self) -> None:
        """Skip to the semicolon, or over the block, that ends a declaration."""
        depth = 0
        while True:
            taken = self._take()
            depth += {"{": 1, "}": -1}.get(taken, 0)
            if depth == 0 and taken in (";", "}"):
                return

    def _skip_brackets(self) -> None:
        """Skip a field's options, whose values may have brackets of their own."""
        depth = 0
        while True:
            depth += {"[": 1, "]": -1}.get(self._take(), 0)
            if depth == 0:
                return

    def _enum(self, found: _File, scope: str) -> None:
        self._next += 1
        found.enums.add(_inside(scope, self._word()))
        self._skip()

    def _message(self, found: _File, scope: str) -> None:
        self._next += 1
        name = _inside(scope, self._word())
        if name.count(".") > MAX_NESTING:
            raise self._wrong(f"at most {MAX_NESTING} levels of messages")
        fields = found.messages[name] = []
        self._expect("{")
        while self._peek() != "}":
            match self._peek():
                case "message":
                    self._message(found, name)
                case "enum":
                    self._enum(found, name)
                case "oneof":
                    self._next += 1
                    self._word()
                    self._expect("{")
                    while self._peek() != "}":
                        if self._peek() == "option":
                            self._skip()
                        else:
                            fields.append(self._field())
                    self._next += 1
                case ";":
                    self._next += 1
                case word if word in _SKIPPED:
                    self._skip()
                case _:
                    fields.append(self._field())
        self._next += 1

    def _field(self) -> _Declared:
        label = self._take() if self._peek() in _LABELS else ""
        kind, key = self._word(), None
        if kind == "group":
            raise self._wrong("a field that is not a group: a table cannot hold groups")
        if kind == "map" and self._peek() == "<":
            self._next += 1
            key = self._word()
            self._expect(",")
            kind = self._word()
            self._expect(">")
        name = self._word()
        self._expect("=")
        number = self._peek()
        if not re.fullmatch(r"[0-9]{1,9}|0[xX][0-9a-fA-F]{1,8}", number):
            raise self._wrong("a field number")
        self._next += 1
        if self._peek() == "[":
            self._skip_brackets()
        self._expect(";")
        return _Declared(name=name, number=int(number, 0), label=label, type=kind, key=key)


def _inside(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name


def _chosen(found: _File, wanted: str | None) -> str:
    messages = found.messages
    if wanted is not None:
        matching = [name for name in messages if name == wanted or name.endswith(f".{wanted}")]
        if len(matching) == 1:
            return matching[0]
        what = "several messages" if matching else "no message"
        raise ConfigurationError(f"the .proto file has {what} of the name {wanted!r}; there are: {_listed(messages)}")
    used = {
        _resolved(found, declared.type, scope)
        for scope, fields in messages.items()
        for declared in fields
        if scope != _resolved(found, declared.type, scope)
    }
    outer = [name for name in messages if name not in used]
    if len(outer) != 1:
        raise ConfigurationError(
            f"the .proto file has {len(outer)} messages that no other message holds: name one of {_listed(messages)}"
        )
    return outer[0]


def _listed(messages: dict[str, list[_Declared]]) -> str:
    return ", ".join(messages) or "none"


def _resolved(found: _File, name: str, scope: str) -> str:
    """Return the full name that a type's name means inside a message: the innermost declaration counts."""
    if name.startswith("."):
        return name[1:]
    while True:
        full = _inside(scope, name)
        if full in found.messages or full in found.enums:
            return full
        if not scope:
            return name
        scope = scope.rpartition(".")[0]


def _fields(found: _File, message: str, inside: tuple[str, ...]) -> tuple[Field, ...]:
    declared = sorted(found.messages[message], key=lambda each: each.number)
    if not declared:
        raise ConfigurationError(f"the message {message} has no fields, and a table or STRUCT needs one")
    return tuple(
        Field(
            name=each.name,
            type=_field_type(found, each, message, inside),
            nullable=each.label != "required",
            number=number,
        )
        for number, each in enumerate(declared, 1)
    )


def _field_type(found: _File, declared: _Declared, message: str, inside: tuple[str, ...]) -> DeltaType:
    value = _type(found, declared.type, message, inside, declared.name)
    if declared.key is not None:
        return Map(_type(found, declared.key, message, inside, declared.name), value)
    return Array(value) if declared.label == "repeated" else value


def _type(found: _File, name: str, message: str, inside: tuple[str, ...], of: str) -> DeltaType:
    if name in _SCALARS:
        return _SCALARS[name]
    full = _resolved(found, name, message)
    if full in found.enums:
        return Primitive.INT
    if full in found.messages:
        if full in inside:
            raise ConfigurationError(f"the message {full} holds itself, by the field {of!r}: a table cannot hold that")
        return Struct(_fields(found, full, (*inside, full)))
    if full in _WELL_KNOWN:
        return _WELL_KNOWN[full]
    raise ConfigurationError(
        f"the field {of!r} of {message} has the type {name}, which is not in this .proto file: declare it there, or "
        "give the columns as DDL"
    )
