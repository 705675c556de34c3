"""SQL statements, as a SQL warehouse executes them: those that make tables, add columns and grant privileges."""

from beam_zerobus.emulator.sql.api import WAREHOUSE_ID, SqlStatements
from beam_zerobus.emulator.sql.warehouse import Warehouse

__all__ = ["WAREHOUSE_ID", "SqlStatements", "Warehouse"]
