"""``beam-zerobus create-table``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from beam_zerobus.errors import ConfigurationError, ConversionError, ZerobusError
from beam_zerobus.options.flags import CommandParser
from beam_zerobus.options.urls import check_url
from beam_zerobus.schema import TableSchema, why_rows_do_not_fit
from beam_zerobus.schema.schema_files import read_proto_file, read_schema
from beam_zerobus.schema.statements import create_statement, grant_statements
from beam_zerobus.schema.table_name import check_table_name
from beam_zerobus.tables.make import missing_grants
from beam_zerobus.workspace.addresses import WORKSPACE_EXAMPLE, check_addresses
from beam_zerobus.workspace.credentials import Credentials, StaticHeaders
from beam_zerobus.workspace.profile_flag import add_profile_flag, credentials_of
from beam_zerobus.workspace.secret import Secret
from beam_zerobus.workspace.sql_warehouse import SqlWarehouse, StatementError
from beam_zerobus.workspace.unity_catalog import fetch_table_schema

__all__ = ["run"]

_NO_PRINCIPAL = "PRINCIPAL_DOES_NOT_EXIST"


_NOTHING_EXECUTED = (
    "beam-zerobus: nothing was executed, since no SQL warehouse is named: paste the statements into the SQL editor, or "
    "set DATABRICKS_WAREHOUSE_ID and try again\n"
)
_USAGE = """beam-zerobus create-table TABLE (--schema SOURCE | --like FILE |
       --from-proto FILE [--message NAME]) [--principal ID] [--warehouse-id ID]
       [--workspace-url URL] [--profile NAME]"""  # argparse does not wrap a group of flags


def run(argv: Sequence[str]) -> int:
    """Print the statements that make a table and let a service principal write to it, or execute them.

    Args:
        argv: The arguments.

    Returns:
        0; 2 if the table exists with other columns, or if a grant could not be given.

    Raises:
        ZerobusError: An argument is wrong, or the table could not be created.
        ValueError, OSError: The columns cannot be read.

    Example:
        >>> run(["main.iot.air", "--schema", "id BIGINT", "--principal", "1234"])
        CREATE TABLE IF NOT EXISTS `main`.`iot`.`air` (
          id BIGINT
        );
        GRANT USE CATALOG ON CATALOG `main` TO `1234`;
        GRANT USE SCHEMA ON SCHEMA `main`.`iot` TO `1234`;
        GRANT SELECT, MODIFY ON TABLE `main`.`iot`.`air` TO `1234`;
        0
    """
    options = _parser().parse_args(argv)
    check_table_name(options.table)
    schema = _columns(options)
    try:
        schema.to_descriptor()
    except ConversionError as error:
        sys.stderr.write(f"beam-zerobus: Zerobus will not take all columns of this table: {error}\n")
    principal = options.principal or os.environ.get("DATABRICKS_CLIENT_ID", "").strip()
    asked = options.warehouse_id
    if warehouse_id := os.environ.get("DATABRICKS_WAREHOUSE_ID", "").strip() if asked is None else asked:
        return _execute(options, schema, principal, warehouse_id)
    statements = [create_statement(options.table, schema), *grant_statements(options.table, principal or "<client-id>")]
    sys.stdout.write("\n".join(statements) + "\n")
    if asked is None:
        sys.stdout.flush()
        sys.stderr.write(_NOTHING_EXECUTED)
    return 0


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="beam-zerobus create-table",
        usage=_USAGE,
        description="Print the statements that create a table and let a service principal write to it; with a SQL "
        "warehouse, execute them. A table that exists is left as it is. Signs in with DATABRICKS_TOKEN, else with "
        "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET; or as --profile says.",
    )
    parser.add_argument("table", metavar="TABLE", help="catalog.schema.table")
    columns = parser.add_mutually_exclusive_group(required=True)
    columns.add_argument("--schema", metavar="SOURCE", help="the columns, as for beam-zerobus schema")
    columns.add_argument("--like", metavar="FILE", help="a Parquet or Arrow file with rows for the table")
    columns.add_argument("--from-proto", metavar="FILE", help="a .proto file; each field becomes a column")
    parser.add_argument("--message", metavar="NAME", help="the message in the .proto file (the outermost one)")
    parser.add_argument("--principal", metavar="ID", help="client id of the service principal (DATABRICKS_CLIENT_ID)")
    parser.add_argument(
        "--warehouse-id",
        metavar="ID",
        help="SQL warehouse that executes the statements (DATABRICKS_WAREHOUSE_ID); '' only prints them",
    )
    parser.add_argument("--workspace-url", metavar="URL", help="else DATABRICKS_HOST, or the profile's host")
    add_profile_flag(parser)
    return parser


def _columns(options: argparse.Namespace) -> TableSchema:
    if options.message and not options.from_proto:
        raise ConfigurationError("--message names a message of a .proto file: give --from-proto too")
    if options.from_proto:
        return read_proto_file(options.from_proto, options.message)
    if options.like and not options.like.lower().endswith((".parquet", ".arrow")):
        raise ConfigurationError(f"--like {options.like}: name a .parquet or .arrow file; --schema takes other sources")
    return read_schema(options.like or options.schema)


def _execute(options: argparse.Namespace, schema: TableSchema, principal: str, warehouse_id: str) -> int:
    """Execute the statements, and say which; a grant that cannot be given does not keep others from being given."""
    if not principal:
        raise ConfigurationError("nobody to grant to: give --principal, the client id of the service principal")
    warehouse = _warehouse(warehouse_id, options.workspace_url, options.profile)
    if not _create(warehouse, options.table, schema):
        return 2
    failed = 0
    for statement in missing_grants(warehouse, options.table, principal):
        try:
            warehouse.execute(statement)
        except ZerobusError as error:
            failed += 1
            remedy = "let someone who may grant it execute"
            if isinstance(error, StatementError) and error.condition == _NO_PRINCIPAL:
                remedy = "name the client id of a service principal of this workspace with --principal, or execute"
            sys.stderr.write(f"beam-zerobus: {error}; {remedy}:\n  {statement}\n")
        else:
            sys.stdout.write(f"{statement}\n")
    return 2 if failed else 0


def _create(warehouse: SqlWarehouse, table: str, schema: TableSchema) -> bool:
    """Create a table that does not exist; return whether rows of the schema fit the table that exists then."""
    existing = _columns_of(warehouse, table)
    if existing is None:
        create = create_statement(table, schema)
        warehouse.execute(create)
        existing = _columns_of(warehouse, table)  # another process may have been faster
        if existing is None or why_rows_do_not_fit(schema, existing) is None:
            sys.stdout.write(f"{create}\n")
            return True
    return _fits_existing(table, schema, existing)


def _fits_existing(table: str, schema: TableSchema, existing: TableSchema) -> bool:
    """Return whether rows of the schema fit a table that exists; say how it differs on standard error."""
    differences, problem = schema.differences(existing), why_rows_do_not_fit(schema, existing)
    found = "exists with other columns, and is left as it is; rows of the schema"
    other = "change the schema or the table, or name another table"
    if problem is not None:
        comparison = f"{found} do not fit: {problem}; {other}"
    elif differences:
        comparison = f"{found} fit, but {'; '.join(differences)}; where that is not meant, {other}"
    else:
        comparison = "exists with these columns, and is left as it is"
    sys.stderr.write(f"beam-zerobus: table {table} {comparison}\n")
    return problem is None


def _columns_of(warehouse: SqlWarehouse, table: str) -> TableSchema | None:
    """Return the columns of a table; None if it does not exist, or may not be read."""
    try:
        return fetch_table_schema(warehouse.workspace_url, table, headers=warehouse.headers())
    except ZerobusError:
        return None


def _warehouse(warehouse_id: str, workspace_url: str | None, profile: str | None) -> SqlWarehouse:
    credentials = _credentials(profile)
    name, url = "--workspace-url", workspace_url
    if not url:
        name, url = "DATABRICKS_HOST", os.environ.get("DATABRICKS_HOST")
    if not url:
        name, url = f"the host of profile {profile!r}", credentials.workspace_url()
    if not url:
        raise ConfigurationError(f"DATABRICKS_HOST is not set: give --workspace-url, such as {WORKSPACE_EXAMPLE}")
    url = check_url(url, name=name, example=WORKSPACE_EXAMPLE, credentials="DATABRICKS_TOKEN").rstrip("/")
    check_addresses(None, url, workspace_name=name)
    return SqlWarehouse(
        workspace_url=url,
        warehouse_id=warehouse_id,
        headers=lambda: credentials.request_headers(url, {"scope": "all-apis"})[0],
    )


def _credentials(profile: str | None) -> Credentials:
    if profile is None and os.environ.get("DATABRICKS_TOKEN"):
        # Of a person, who may create tables; Zerobus itself does not accept it.
        token = Secret(f"Bearer {os.environ['DATABRICKS_TOKEN'].strip()}")
        return StaticHeaders(headers={"authorization": token})
    return credentials_of(profile)
