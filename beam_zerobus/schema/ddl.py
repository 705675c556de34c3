"""Reads the columns of a CREATE TABLE statement: the whole grammar of Delta's types, with exact error positions."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema.types import MAX_NESTING, Array, Decimal, DeltaType, Field, Map, Primitive, Struct

__all__ = ["DdlError", "DdlParser", "Token", "parse_columns", "parse_type"]


class DdlError(ConfigurationError):
    """Text that does not follow the grammar, or a type that Zerobus cannot write.

    Attributes:
        reason: The message without line and column.
    """

    reason: str = ""


_PRIMITIVES = {primitive.value: primitive for primitive in Primitive} | {
    "BYTE": Primitive.TINYINT,
    "SHORT": Primitive.SMALLINT,
    "INTEGER": Primitive.INT,
    "LONG": Primitive.BIGINT,
    "REAL": Primitive.FLOAT,
    "TIMESTAMP_LTZ": Primitive.TIMESTAMP,
}
_DECIMAL_NAMES = ("DECIMAL", "DEC", "NUMERIC")
_TEXT_NAMES = ("VARCHAR", "CHAR", "CHARACTER")
_NESTED_NAMES = ("ARRAY", "MAP", "STRUCT")

_REJECTED_TYPES = {
    "INTERVAL": "Zerobus cannot write INTERVAL; store a number of units as BIGINT",
    "VOID": "a VOID column holds only nulls; leave it out or give it a type",
    "TIME": "Delta has no TIME type; store microseconds of the day as BIGINT, or text as STRING",
    "OBJECT": "Zerobus cannot write OBJECT; store JSON as VARIANT or STRING",
    "GEOGRAPHY": "Zerobus cannot write GEOGRAPHY; store WKB as BINARY",
    "GEOMETRY": "Zerobus cannot write GEOMETRY; store WKB as BINARY",
    "DATETIME": "Delta has no DATETIME; use TIMESTAMP (a moment in time) or TIMESTAMP_NTZ (no time zone)",
    "TEXT": "Delta has no TEXT; use STRING",
    "BOOL": "Delta has no BOOL; use BOOLEAN",
}
_REJECTED_CLAUSES = {
    "GENERATED": "Zerobus does not write tables with generated columns; leave the clause out or use another table",
    "DEFAULT": "defaults belong to the table; leave the clause out",
    "PRIMARY": "constraints belong to the table; leave the clause out",
    "FOREIGN": "constraints belong to the table; leave the clause out",
    "REFERENCES": "constraints belong to the table; leave the clause out",
    "CONSTRAINT": "constraints belong to the table; leave the clause out",
    "CHECK": "Zerobus does not write tables with CHECK constraints; leave the clause out or use another table",
    "MASK": "column masks belong to the table; leave the clause out",
}

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
      | (?P<word>[A-Za-z0-9_]+)
      | (?P<quoted>`(?:[^`]|``)*`)
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<mark>[<>(),:.;=])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a"}


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a name in backquotes, text in quotes, a mark, or the end."""

    kind: str
    text: str
    position: int


def parse_columns(text: str) -> tuple[Field, ...]:
    """Read ``name TYPE [NOT NULL] [COMMENT '...'], ...``.

    Args:
        text: The column list, that is, what is between the parentheses of CREATE TABLE. Case does not matter; names
            may be in backquotes; SQL comments are skipped.

    Returns:
        The columns, numbered from 1.

    Raises:
        DdlError: The text does not follow the grammar, or has a type that Zerobus cannot write; the message gives line
            and column.

    Example:
        >>> [str(column.type) for column in parse_columns("id BIGINT NOT NULL, tags ARRAY<STRING>")]
        ['BIGINT', 'ARRAY<STRING>']
    """
    parser = DdlParser(text)
    first, second = parser.tokens[0], parser.tokens[min(1, len(parser.tokens) - 1)]
    if first.text.upper() == "CREATE" and second.text.upper() in ("TABLE", "OR", "EXTERNAL"):
        raise parser.error(first, "give only the column list, without CREATE TABLE and its parentheses")
    columns = parser.fields(end="")
    parser.expect_end()
    return columns


def parse_type(text: str) -> DeltaType:
    """Read one type, such as ``array<struct<a: int, b: decimal(10,2)>>``.

    Raises:
        DdlError: The text is not a type that Zerobus can write; the message gives line and column.

    Example:
        >>> str(parse_type("map<string,int>"))
        'MAP<STRING, INT>'
    """
    parser = DdlParser(text)
    delta_type = parser.type()
    parser.expect_end()
    return delta_type


class DdlParser:
    """A recursive-descent parser: one method for each rule of the grammar.

    Attributes:
        subject: What messages call the text.
        marks: The marks of the grammar.
    """

    subject = "schema DDL"
    marks = frozenset("<>(),:")

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokens()
        self.next = 0
        self.depth = 0

    def _tokens(self) -> list[Token]:
        tokens = []
        position = 0
        while position < len(self.text):
            match = _TOKEN.match(self.text, position)
            if match is None or (match.lastgroup == "mark" and match.group() not in self.marks):
                raise self._lexical_error(position)
            if match.lastgroup != "space":
                tokens.append(Token(match.lastgroup or "", match.group(), position))
            position = match.end()
        tokens.append(Token("end", "", position))
        return tokens

    def _lexical_error(self, position: int) -> DdlError:
        character = self.text[position]
        token = Token("", character, position)
        if character in "`'\"":
            return self.error(token, f"this {character} is not closed")
        if self.text.startswith("/*", position):
            return self.error(token, "this comment is not closed")
        return self.error(token, self.unexpected(character))

    def unexpected(self, character: str) -> str:
        """Return what is wrong with a character that begins no token."""
        return f"unexpected character {character!r}; names consist of ASCII letters, digits and underscores"

    def error(self, token: Token, message: str) -> DdlError:
        """Return an error that names a token's line and column."""
        line = self.text.count("\n", 0, token.position) + 1
        column = token.position - (self.text.rfind("\n", 0, token.position) + 1) + 1
        return DdlError(f"{self.subject}, line {line}, column {column}: {message}", {"reason": message})

    def peek(self) -> Token:
        """Return the next token."""
        return self.tokens[self.next]

    def take(self) -> Token:
        """Take the next token."""
        token = self.tokens[self.next]
        self.next = min(self.next + 1, len(self.tokens) - 1)
        return token

    def keyword(self, word: str) -> bool:
        """Take a keyword if it is next."""
        token = self.peek()
        if token.kind == "word" and token.text.upper() == word:
            self.take()
            return True
        return False

    def mark(self, mark: str) -> bool:
        """Take a mark if it is next."""
        token = self.peek()
        if token.kind == "mark" and token.text == mark:
            self.take()
            return True
        return False

    def expect(self, mark: str, after: str) -> None:
        """Take a mark, which must be next."""
        if not self.mark(mark):
            raise self.error(self.peek(), f"expected {mark!r} {after}, found {_shown(self.peek())}")

    def expect_end(self) -> None:
        """Check that the text ends."""
        if self.peek().kind != "end":
            raise self.error(self.peek(), f"expected ',' or the end, found {_shown(self.peek())}")

    def fields(self, end: str) -> tuple[Field, ...]:
        """Read the fields between commas, up to (not including) the mark `end`."""
        fields: list[Field] = []
        if self.peek().kind == "end" or self.peek().text == end:
            raise self.error(self.peek(), "expected a name and a type")
        while True:
            fields.append(self.field(number=len(fields) + 1))
            if not self.mark(","):
                return tuple(fields)

    def field(self, number: int) -> Field:
        """Read a column, or a field of a struct."""
        return self.definition(self.name(), number)

    def definition(self, name: str, number: int) -> Field:
        """Read what follows a field's name."""
        self.mark(":")
        delta_type = self.type()
        nullable, comment = True, None
        while True:
            token = self.peek()
            word = token.text.upper() if token.kind == "word" else ""
            if word == "NOT":
                self.take()
                if not self.keyword("NULL"):
                    raise self.error(self.peek(), f"expected NULL after NOT, found {_shown(self.peek())}")
                if not nullable:
                    raise self.error(token, f"NOT NULL appears twice for {name!r}")
                nullable = False
            elif word == "COMMENT":
                self.take()
                if comment is not None:
                    raise self.error(token, f"COMMENT appears twice for {name!r}")
                comment = self.string()
            elif word in _REJECTED_CLAUSES:
                raise self.error(token, f"{word} for {name!r}: {_REJECTED_CLAUSES[word]}")
            else:
                return Field(name=name, type=delta_type, nullable=nullable, number=number, comment=comment)

    def name(self) -> str:
        """Read a name, in backquotes or not."""
        token = self.take()
        if token.kind == "word":
            return token.text
        if token.kind == "quoted":
            return token.text[1:-1].replace("``", "`")
        raise self.error(token, f"expected a column name, found {_shown(token)}")

    def string(self) -> str:
        """Read text in quotes."""
        token = self.take()
        if token.kind != "string":
            raise self.error(token, f"expected text in quotes after COMMENT, found {_shown(token)}")
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), token.text[1:-1], flags=re.DOTALL)

    def type(self) -> DeltaType:
        """Read a type."""
        token = self.take()
        word = token.text.upper()
        if token.kind != "word":
            raise self.error(token, f"expected a type, found {_shown(token)}")
        if word in _PRIMITIVES:
            if word == "STRING" and self.keyword("COLLATE"):
                self.name()
            return _PRIMITIVES[word]
        if word in _DECIMAL_NAMES:
            return self.decimal(token)
        if word in _TEXT_NAMES:
            self.expect("(", f"and a length after {word}; or use STRING")
            self.integer()
            self.expect(")", "after the length")
            return Primitive.STRING
        if word in _NESTED_NAMES:
            return self.nested(token)
        if word in _REJECTED_TYPES:
            raise self.error(token, _REJECTED_TYPES[word])
        known = [*_PRIMITIVES, *_DECIMAL_NAMES, *_TEXT_NAMES, *_NESTED_NAMES]
        close = difflib.get_close_matches(word, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; Delta's types are {', '.join(known)}"
        raise self.error(token, f"{token.text!r} is not a Delta type{hint}")

    def decimal(self, token: Token) -> Decimal:
        """Read the parameters of DECIMAL."""
        precision, scale = 10, 0
        if self.mark("("):
            precision = self.integer()
            if self.mark(","):
                scale = self.integer()
            self.expect(")", f"after the parameters of {token.text.upper()}")
        try:
            return Decimal(precision, scale)
        except ConfigurationError as error:
            raise self.error(token, str(error)) from None

    def integer(self) -> int:
        """Read a whole number."""
        token = self.take()
        if token.kind != "word" or not token.text.isdecimal():
            raise self.error(token, f"expected a whole number, found {_shown(token)}")
        return int(token.text[:12])

    def nested(self, token: Token) -> DeltaType:
        """Read what follows ARRAY, MAP or STRUCT."""
        word = token.text.upper()
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise self.error(token, f"types nest deeper than {MAX_NESTING} levels; flatten the column")
        self.expect("<", f"after {word}")
        result: DeltaType
        if word == "ARRAY":
            result = Array(self.type())
        elif word == "MAP":
            key = self.type()
            self.expect(",", "between the map's key and value")
            result = Map(key, self.type())
        else:
            result = Struct(self.fields(end=">"))
        self.expect(">", f"to close {word}")
        self.depth -= 1
        return result


def _shown(token: Token) -> str:
    return "the end" if token.kind == "end" else repr(token.text)
