"""SQL text to statements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from beam_zerobus.emulator.access.grants import PRIVILEGES
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.additions import Addition
from beam_zerobus.schema.ddl import DdlParser

__all__ = ["AddColumns", "CreateTable", "Describe", "DropConstraint", "Grant", "ShowGrants", "Statement", "parse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTable:
    """CREATE TABLE [IF NOT EXISTS] table (columns) [USING DELTA] [PARTITIONED BY (columns)].

    CLUSTER BY and TBLPROPERTIES may follow; they say nothing that matters to the emulator.
    """

    table: str
    if_not_exists: bool
    schema: TableSchema
    partitioned_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddColumns:
    """ALTER TABLE table ADD COLUMNS (columns); a column may be a field of a struct, such as ``place.zip``."""

    table: str
    additions: tuple[Addition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DropConstraint:
    """ALTER TABLE table DROP CONSTRAINT [IF EXISTS] constraint."""

    table: str
    constraint: str
    if_exists: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """GRANT privileges ON kind name TO principal, or REVOKE privileges ON kind name FROM principal."""

    privileges: tuple[str, ...]
    kind: str
    name: str
    principal: str
    is_revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowGrants:
    """SHOW GRANTS [principal] ON kind name."""

    principal: str | None
    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe:
    """DESCRIBE [TABLE] [EXTENDED] table."""

    table: str


Statement: TypeAlias = CreateTable | AddColumns | DropConstraint | Grant | ShowGrants | Describe

_ONLY = (  # short, since clients cut what they quote
    "only CREATE TABLE, ALTER TABLE (ADD COLUMNS, DROP CONSTRAINT), GRANT, REVOKE, SHOW GRANTS and DESCRIBE are "
    "executed here; read rows with Table.to_arrow() or GET /control/tables/{name}/rows"
)
_KINDS = ("CATALOG", "SCHEMA", "TABLE")


def parse(text: str) -> Statement:
    """Read one statement; a semicolon may follow it.

    Raises:
        DdlError: It is none of those above; the message gives line and column.

    Example:
        >>> parse("GRANT SELECT, MODIFY ON TABLE main.iot.air TO `1234`;").privileges
        ('SELECT', 'MODIFY')
    """
    parser = _Parser(text)
    statement = parser.statement()
    parser.mark(";")
    parser.expect_end()
    return statement


class _Parser(DdlParser):
    subject = "SQL"
    marks = DdlParser.marks | frozenset(".;=")

    def unexpected(self, character: str) -> str:
        return f"unexpected character {character!r}; {_ONLY}"

    def statement(self) -> Statement:
        first = self.peek()
        for word, rule in (
            ("CREATE", self.create),
            ("ALTER", self.alter),
            ("GRANT", self.grant),
            ("REVOKE", self.revoke),
            ("SHOW", self.show_grants),
            ("DESCRIBE", self.describe),
            ("DESC", self.describe),
        ):
            if self.keyword(word):
                return rule()
        raise self.error(first, _ONLY)

    def words(self, *words: str, remedy: str = "") -> None:
        """Take keywords that must follow."""
        for word in words:
            if not self.keyword(word):
                raise self.error(self.peek(), f"expected {word}, found {self.peek().text or 'the end'!r}{remedy}")

    def optional(self, *words: str) -> bool:
        """Take keywords if the first one follows."""
        if not self.keyword(words[0]):
            return False
        self.words(*words[1:])
        return True

    def dotted(self) -> tuple[str, ...]:
        parts = [self.part()]
        while self.mark("."):
            parts.append(self.part())
        return tuple(parts)

    def part(self) -> str:
        token = self.peek()
        name = self.name()
        if not name or "." in name:
            raise self.error(token, "a name is not empty and has no dots")
        return name

    def table(self) -> str:
        token = self.peek()
        parts = self.dotted()
        if len(parts) != 3:
            raise self.error(token, "name the table as catalog.schema.table")
        return ".".join(parts)

    def create(self) -> CreateTable:
        self.words("TABLE", remedy=f"; {_ONLY}")
        if_not_exists = self.optional("IF", "NOT", "EXISTS")
        table = self.table()
        self.expect("(", "before the columns")
        columns = self.fields(end=")")
        self.expect(")", "after the columns")
        if self.keyword("USING"):
            self.words("DELTA")
        partitioned_by: tuple[str, ...] = ()
        if self.optional("PARTITIONED", "BY"):
            partitioned_by = self.columns_of("PARTITIONED BY")
        if self.optional("CLUSTER", "BY"):
            token = self.peek()
            unknown = sorted(set(self.columns_of("CLUSTER BY")) - {column.name for column in columns})
            if unknown:
                raise self.error(token, f"the table has no column {unknown[0]!r} to cluster by")
        if self.keyword("TBLPROPERTIES"):
            self.properties()
        return CreateTable(
            table=table, if_not_exists=if_not_exists, schema=TableSchema(columns), partitioned_by=partitioned_by
        )

    def columns_of(self, clause: str) -> tuple[str, ...]:
        self.expect("(", f"after {clause}")
        names = [self.name()]
        while self.mark(","):
            names.append(self.name())
        self.expect(")", f"after the columns of {clause}")
        return tuple(names)

    def properties(self) -> None:
        self.expect("(", "after TBLPROPERTIES")
        while True:
            self.quoted("the name of a property")
            self.expect("=", "after the name of a property")
            self.quoted("the value of a property")
            if not self.mark(","):
                break
        self.expect(")", "after the properties")

    def quoted(self, what: str) -> None:
        token = self.take()
        if token.kind != "string":
            raise self.error(token, f"expected {what} in quotes, found {token.text or 'the end'!r}")

    def alter(self) -> AddColumns | DropConstraint:
        self.words("TABLE", remedy=f"; {_ONLY}")
        table = self.table()
        if self.optional("DROP", "CONSTRAINT"):
            if_exists = self.optional("IF", "EXISTS")
            return DropConstraint(table=table, constraint=self.name(), if_exists=if_exists)
        self.words("ADD", remedy=f"; {_ONLY}")
        if not (self.keyword("COLUMNS") or self.keyword("COLUMN")):
            raise self.error(self.peek(), "expected COLUMNS after ADD")
        in_parentheses = self.mark("(")
        additions = [self.addition()]
        while self.mark(","):
            additions.append(self.addition())
        if in_parentheses:
            self.expect(")", "after the columns")
        return AddColumns(table=table, additions=tuple(additions))

    def addition(self) -> Addition:
        *path, name = self.dotted()
        return Addition(tuple(path), self.definition(name, number=1))

    def grant(self) -> Grant:
        return self.changed_grant(is_revoked=False)

    def revoke(self) -> Grant:
        return self.changed_grant(is_revoked=True)

    def changed_grant(self, *, is_revoked: bool) -> Grant:
        privileges = [self.privilege()]
        while self.mark(","):
            privileges.append(self.privilege())
        kind, name = self.securable()
        self.words("FROM" if is_revoked else "TO")
        return Grant(privileges=tuple(privileges), kind=kind, name=name, principal=self.name(), is_revoked=is_revoked)

    def privilege(self) -> str:
        token = self.peek()
        words = []
        while self.peek().kind == "word" and self.peek().text.upper() != "ON":
            words.append(self.take().text.upper())
        privilege = " ".join(words)
        if privilege not in PRIVILEGES:
            raise self.error(token, f"{privilege!r} is not one of the privileges {', '.join(sorted(PRIVILEGES))}")
        return privilege

    def securable(self) -> tuple[str, str]:
        self.words("ON")
        token = self.peek()
        kind = self.take().text.upper() if token.text.upper() in _KINDS else "TABLE"
        parts = self.dotted()
        if len(parts) != _KINDS.index(kind) + 1:
            raise self.error(token, f"the name of a {kind} has {_KINDS.index(kind) + 1} parts")
        return kind, ".".join(parts)

    def show_grants(self) -> ShowGrants:
        self.words("GRANTS", remedy=f"; {_ONLY}")
        principal = None if self.peek().text.upper() == "ON" else self.name()
        kind, name = self.securable()
        return ShowGrants(principal=principal, kind=kind, name=name)

    def describe(self) -> Describe:
        self.keyword("TABLE")
        self.keyword("EXTENDED")
        return Describe(table=self.table())
