"""One case of one client and wire format: the stream, what was sent, what was acknowledged, what is in the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from deltalake import DeltaTable

from beam_zerobus.emulator import Emulator
from tests.sdks.clients import ClientProgram
from tests.sdks.payloads import COLUMNS, TABLE, bad_row, good_row, records, schema_of
from tests.sdks.program import Answer, Program
from tests.sdks.server import storage_with


class Server(Protocol):
    """What a client needs of a server."""

    client_id: str
    client_secret: str
    endpoint: str
    workspace_url: str


@dataclass(slots=True)
class Trial:
    """A stream to a server, with a record of what the client was promised.

    Args:
        emulator: The server of this case, in this process; its faults may be set.
        client: The client.
        program: Its program, which runs.
        wire_format: The format of its streams.
        directory: An empty directory for the case.
        authority: The certificates of servers, where the client writes over TLS.
    """

    emulator: Emulator
    client: ClientProgram
    program: Program
    wire_format: str
    directory: Path
    authority: Path | None
    sent: list[int] = field(default_factory=list)
    acknowledged: set[int] = field(default_factory=set)
    _calls: dict[int, int] = field(default_factory=dict)
    """Number of rows that were sent up to a call of the stream, that one included."""

    def open(
        self,
        *,
        server: Server | None = None,
        workspace_url: str | None = None,
        table: str = TABLE,
        secret: str | None = None,
        patience_ms: int = 20_000,
        schema: str | None = None,
    ) -> Answer:
        """Open a stream."""
        to = server or self.emulator
        self._calls.clear()
        address = (to.endpoint, workspace_url or to.workspace_url, self.wire_format, table)
        credentials = (to.client_id, secret or to.client_secret)
        return self.program.ask("open", *address, *credentials, patience_ms, schema or schema_of(self.wire_format))

    def send(self, *ids: int) -> int:
        """Send a call of good rows; return its offset.

        Raises:
            AssertionError: The client did not accept it.
        """
        answer = self.program.ask("send", *records(self.wire_format, [good_row(row_id) for row_id in ids]))
        assert answer.ok, f"send: {answer.message}"
        assert answer.offset is not None, "send: the client returned no offset"
        self.sent += ids
        self._calls[answer.offset] = len(self.sent)
        return answer.offset

    def send_bad(self, row_id: int) -> Answer:
        """Send a call of a good and a bad row, and wait for the outcome, which may be an error of either."""
        answer = self.program.ask("send", *records(self.wire_format, [good_row(row_id), bad_row(row_id)]))
        return self.program.ask("wait", answer.offset) if answer.offset is not None else answer

    def wait(self, offset: int) -> None:
        """Wait for the acknowledgement of a call."""
        self._succeeds(self.program.ask("wait", offset), self.sent[: self._calls[offset]], f"wait {offset}")

    def flush(self) -> None:
        """Wait for all acknowledgements."""
        self._succeeds(self.program.ask("flush"), self.sent, "flush")

    def close(self) -> None:
        """Close the stream."""
        self._succeeds(self.program.ask("close"), self.sent, "close")

    def _succeeds(self, answer: Answer, ids: Iterable[int], what: str) -> None:
        assert answer.ok, f"{what}: {answer.message}"
        self.acknowledged.update(ids)

    def table_ids(self, path: str | Path | None = None) -> Counter[int]:
        """Return each id in the Delta table with the number of its rows, read by deltalake alone."""
        table = DeltaTable(path or self.emulator.table(TABLE).path)
        return Counter(table.to_pyarrow_table()["id"].to_pylist())

    def check_at_least_once(self, path: str | Path | None = None) -> None:
        """Check that every acknowledged id is in the table, and nothing that was not sent."""
        check_at_least_once(self.acknowledged, self.sent, self.table_ids(path))

    def check_exactly_once(self) -> None:
        """Check that every id that was sent is in the table, once."""
        found = self.table_ids()
        assert found == Counter(self.sent), f"sent {sorted(self.sent)}, in the table {sorted(found.elements())}"


def check_at_least_once(acknowledged: set[int], sent: Iterable[int], found: Counter[int]) -> None:
    """Compare what a client was promised with what a table holds."""
    lost = acknowledged - set(found)
    assert not lost, f"acknowledged, and not in the table: {sorted(lost)}"
    foreign = set(found) - set(sent)
    assert not foreign, f"in the table, and not sent: {sorted(foreign)}"


def new_emulator(directory: Path, authority: Path | None) -> Emulator:
    """Return a server with the table, not started; over TLS, if there is an authority."""
    emulator = Emulator(storage_with(authority, directory / "tables"), tls=authority is not None)
    emulator.create_table(TABLE, COLUMNS)
    return emulator
