"""Dead letters of dataclasses whose fields are not all set."""

from __future__ import annotations

import dataclasses

import pytest

from beam_zerobus.schema import TableSchema
from beam_zerobus.sink.dead_letters import to_element
from tests.sink.test_letters_come_back import letter, outcome


@dataclasses.dataclass
class Unset:
    i: int
    x: str = dataclasses.field(init=False)


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_a_field_that_was_never_set_is_null(file_format):
    schema = TableSchema.from_ddl("i INT, x STRING")
    assert outcome(to_element(letter(Unset(1), file_format), schema), schema) == "[{'i': 1, 'x': None}]"
