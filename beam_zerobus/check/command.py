"""``beam-zerobus check``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from beam_zerobus.check.run import check_table
from beam_zerobus.options import CreateTable, OnUnknownFields, WireFormat
from beam_zerobus.options.flags import CommandParser
from beam_zerobus.options.wording import for_command
from beam_zerobus.schema.schema_files import names_file, read_source
from beam_zerobus.schema.time_rules import EpochUnit
from beam_zerobus.workspace.profile_flag import add_profile_flag, credentials_of

__all__ = ["run"]

_NO_OPTIONS = {"table", "profile", "json"}  # of the writer


def run(argv: Sequence[str] | None = None) -> int:
    """Check a table, print the report, and return its exit code: 0, 1 with warnings, 2 with failures.

    Args:
        argv: The arguments; None means those of the process.

    Raises:
        ValueError, OSError: The file with the rows' columns cannot be read.
        ConfigurationError: An option is wrong.
    """
    parser = CommandParser(
        prog="beam-zerobus check",
        description="Check what keeps rows from a table, without sending one: environment, addresses, network, token, "
        "grants, table, schema, stream. Exit code: 0 all passed, 1 with warnings, 2 with failures.",
    )
    parser.add_argument("table", metavar="TABLE", help="catalog.schema.table")
    parser.add_argument("--endpoint", help="else ZEROBUS_ENDPOINT")
    parser.add_argument("--workspace-url", help="else DATABRICKS_HOST")
    parser.add_argument(
        "--schema", metavar="SOURCE", help="the rows' columns, as for beam-zerobus schema, to compare with the table's"
    )
    parser.add_argument("--wire-format", choices=get_args(WireFormat), default="proto", help="(%(default)s)")
    parser.add_argument(
        "--on-unknown-fields",
        choices=get_args(OnUnknownFields),
        default="reject",
        help="what the job does with fields that the table does not have (%(default)s)",
    )
    parser.add_argument("--rescue-column", metavar="NAME", default="_rescued_data", help="(%(default)s)")
    parser.add_argument(
        "--create-table",
        choices=get_args(CreateTable),
        default="never",
        help="whether the job creates a missing table (%(default)s)",
    )
    parser.add_argument("--assume-timezone", metavar="ZONE", help="time zone that the job gives timestamps without one")
    parser.add_argument(
        "--epoch-unit", choices=get_args(EpochUnit), help="unit of the job's whole numbers for timestamp columns"
    )
    parser.add_argument("--warehouse-id", metavar="ID", help="else DATABRICKS_WAREHOUSE_ID")
    add_profile_flag(parser)
    parser.add_argument("--json", action="store_true", help="write JSON")
    options = parser.parse_args(argv)
    schema = options.schema
    if schema is not None and names_file(schema):
        schema = read_source(schema)
    report = check_table(
        options.table,
        endpoint=options.endpoint,
        workspace_url=options.workspace_url,
        credentials=credentials_of(options.profile),
        schema=schema,
        wire_format=options.wire_format,
        on_unknown_fields=options.on_unknown_fields,
        rescue_column=options.rescue_column,
        create_table=options.create_table,
        warehouse_id=options.warehouse_id,
        assume_timezone=options.assume_timezone,
        epoch_unit=options.epoch_unit,
    )
    wording = for_command(vars(options).keys() - _NO_OPTIONS)
    report = replace(report, findings=tuple(replace(one, message=wording(one.message)) for one in report.findings))
    sys.stdout.write((report.as_json() if options.json else report.as_text()) + "\n")
    return report.exit_code
