"""``beam-zerobus check``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import get_args

from beam_zerobus.check.run import check_table
from beam_zerobus.options import WireFormat
from beam_zerobus.options.flags import CommandParser

__all__ = ["run"]


def run(argv: Sequence[str] | None = None) -> int:
    """Check a table, print the report, and return its exit code: 0, 1 with warnings, 2 with failures.

    Args:
        argv: The arguments; None means those of the process.
    """
    parser = CommandParser(
        prog="beam-zerobus check",
        description="Check what keeps rows from a table, without sending one: environment, addresses, network, token, "
        "grants, table, schema, stream. Exit code: 0 all passed, 1 with warnings, 2 with failures.",
    )
    parser.add_argument("table", metavar="TABLE", help="catalog.schema.table")
    parser.add_argument("--endpoint", help="else ZEROBUS_ENDPOINT")
    parser.add_argument("--workspace-url", help="else DATABRICKS_HOST")
    parser.add_argument("--schema", metavar="DDL", help="the rows' columns, to compare with the table's")
    parser.add_argument("--wire-format", choices=get_args(WireFormat), default="proto", help="(%(default)s)")
    parser.add_argument("--json", action="store_true", help="write JSON")
    options = parser.parse_args(argv)
    report = check_table(
        options.table,
        endpoint=options.endpoint,
        workspace_url=options.workspace_url,
        schema=options.schema,
        wire_format=options.wire_format,
    )
    sys.stdout.write((report.as_json() if options.json else report.as_text()) + "\n")
    return report.exit_code
