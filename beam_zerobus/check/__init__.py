"""What keeps rows from a table, found before the first one is sent: ``beam-zerobus check`` and `check_table`."""

from beam_zerobus.check.report import Finding, Report
from beam_zerobus.check.run import check_table

__all__ = ["Finding", "Report", "check_table"]
