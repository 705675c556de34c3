"""A SQL warehouse that does not execute a statement in time."""

from __future__ import annotations

import pytest

from beam_zerobus import ConfigurationError
from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.sql.api import SqlStatements
from beam_zerobus.workspace.secret import Secret
from beam_zerobus.workspace.sql_warehouse import SqlWarehouse


def test_a_statement_that_takes_too_long_is_cancelled(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next try adds another one, and all are executed once the warehouse has started."""
    posted: list[str] = []
    post = SqlStatements.post

    def noting(statements: SqlStatements, principal: str, path: str, body: bytes) -> dict[str, object]:
        posted.append(path)
        return post(statements, principal, path, body)

    monkeypatch.setattr(SqlStatements, "post", noting)
    token = Secret(f"Bearer {emulator.issue_token(admin=True)}")
    warehouse = SqlWarehouse(
        workspace_url=emulator.workspace_url,
        warehouse_id=emulator.warehouse_id,
        headers=lambda: {"authorization": token},
        limit=-1.0,
    )
    with pytest.raises(ConfigurationError, match="did not execute SHOW GRANTS `x` ON CATALOG `main` within"):
        warehouse.execute("SHOW GRANTS `x` ON CATALOG `main`")
    assert [path.rpartition("/")[2] for path in posted] == ["statements", "cancel"]
