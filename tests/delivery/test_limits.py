"""The limits that docs/delivery.md promises are those in the code."""

import re
from pathlib import Path

from beam_zerobus.debug_files import writer as debug_files
from beam_zerobus.delivery import limits
from beam_zerobus.workspace import credentials, http, retry_after, sql_warehouse
from beam_zerobus.writer import current_conversion, endings

PAGE = Path(__file__).parents[2] / "docs" / "delivery.md"
UNITS = {"s": 1, "MiB": 1 << 20, "streams": 1}


def test_each_limit_of_the_page_is_that_of_the_code():
    section = PAGE.read_text().split("## Limits")[1].split("\n## ")[0]
    documented = {
        name: int(number) * UNITS[unit] for number, unit, name in re.findall(r"(\d+) (s|MiB|streams) \(`(\w+)", section)
    }
    code = {
        name: value
        for module in (limits, current_conversion, endings, http, credentials, retry_after, sql_warehouse, debug_files)
        for name, value in vars(module).items()
        if name.isupper()
        and isinstance(value, int | float)
        and name not in ("BYTES_PER_ROW", "OUTAGE_LOG_INTERVAL", "TYPE_CHECKING")
        if name[0] != "_"
    }
    assert documented == code
    assert f"counts {limits.BYTES_PER_ROW} bytes more" in section
