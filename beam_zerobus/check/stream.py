"""Whether Zerobus opens a stream to the table; no row is sent."""

from __future__ import annotations

from beam_zerobus.check.remedies import another_table, check_again
from beam_zerobus.check.report import Findings
from beam_zerobus.delivery.failures import StreamFailure
from beam_zerobus.delivery.stream import open_stream
from beam_zerobus.delivery.stream_spec import StreamSpec
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.errors import ZerobusError
from beam_zerobus.options import WireFormat
from beam_zerobus.schema import TableSchema
from beam_zerobus.workspace.tokens import TokenSource

__all__ = ["check_stream"]


def check_stream(
    findings: Findings,
    table: str,
    schema: TableSchema,
    *,
    wire_format: WireFormat,
    endpoint: str,
    workspace_url: str | None,
    tokens: TokenSource,
) -> None:
    """Open a stream as a writer would, and close it."""
    try:
        conversion = Conversion(schema, wire_format, table=table)
    except ZerobusError as error:
        remedy = f"{another_table(table, None)}   # without the columns that it names"
        findings.add("stream", "fail", str(error), remedy)
        return
    try:
        open_stream(StreamSpec.of(conversion), endpoint=endpoint, workspace_url=workspace_url, tokens=tokens).close()
    except StreamFailure as failure:
        findings.add(
            "stream", "fail", str(failure.as_error(table)), check_again(table, "after you have done what it says")
        )
    except ZerobusError as error:
        findings.add("stream", "fail", str(error), check_again(table, "after you have done what it says"))
    else:
        findings.add("stream", "pass", f"opened and closed over {wire_format}, without a row")
