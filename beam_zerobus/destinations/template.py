"""`Template`: a table's name with fields of the element in it, in the syntax of Beam's own sinks.

Beam's `RowStringInterpolator`, which its Iceberg sink uses, reads ``{field}`` and ``{outer.inner}`` in the same way. It
writes nothing for a null, where here the row has no table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TypeAlias

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options.fields import shown

__all__ = ["Path", "Template", "is_template"]

Path: TypeAlias = tuple[str, ...]
"""The name of a field; of a nested one, the names from the outermost to it."""

_PLACEHOLDER = re.compile(r"\{(.+?)}")
_LITERAL = re.compile(r"[A-Za-z0-9_.-]*")


def is_template(table: str) -> bool:
    """Return whether a table's name holds a curly bracket, as no name of a table does."""
    return "{" in table or "}" in table


@dataclass(frozen=True, slots=True)
class Template:
    """A name such as ``main.{region}.events_{device.kind}``.

    Attributes:
        text: The template as it was given.
        literals: The text before, between and after the fields.
        fields: The fields, in the order of the text.

    Example:
        >>> template = Template.parse("main.{region}.events_{device.kind}")
        >>> template.fields
        (('region',), ('device', 'kind'))
        >>> template.fill(["eu", "pump"])
        'main.eu.events_pump'
    """

    text: str
    literals: tuple[str, ...]
    fields: tuple[Path, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read a template.

        Raises:
            ConfigurationError: It has an unpaired bracket, or no name of a table can be made with it.
        """
        parts = _PLACEHOLDER.split(text)
        literals, names = tuple(parts[::2]), parts[1::2]
        named = f"table={shown(text) or '<template>'}"
        for literal in literals:
            if "{" in literal or "}" in literal:
                raise ConfigurationError(
                    f"{named} has a curly bracket that does not name a field: write it as 'main.{{region}}.events'"
                )
            if not _LITERAL.fullmatch(literal):
                raise ConfigurationError(
                    f"{named}: the text beside the fields is not one that Zerobus accepts in a name: use ASCII "
                    "letters, digits and underscores"
                )
        if sum(literal.count(".") for literal in literals) > 2:
            raise ConfigurationError(f"{named} has more than 3 parts: write it as 'catalog.schema.table'")
        for name in names:
            if name.startswith("$"):
                raise ConfigurationError(
                    f"{named}: fields of the element choose a table, not {name} of its window: add a field for it "
                    "before the sink"
                )
            if not all(name.split(".")) or "{" in name:
                raise ConfigurationError(
                    f"{named} has a field without a name: write {{field}}, or {{outer.inner}} for a nested one"
                )
        return cls(text, literals, tuple(tuple(name.split(".")) for name in names))

    def fill(self, values: Iterable[object]) -> str:
        """Return the name for the values of the fields, in their order."""
        pairs = zip_longest(self.literals, map(str, values), fillvalue="")
        return "".join(chain.from_iterable(pairs))
