"""The list of row errors is closed, and documented."""

from pathlib import Path

import pytest

from beam_zerobus.schema import RowErrorType

ERRORS = Path(__file__).parents[2] / "docs" / "errors.md"


@pytest.mark.parametrize("error_type", RowErrorType)
def test_each_reason_is_in_the_table_of_the_docs(error_type):
    assert f"| `{error_type.value}` |" in ERRORS.read_text(encoding="utf-8")
