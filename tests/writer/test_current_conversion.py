"""The newest schema of a table stays in use, whichever thread learns of an older one later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from beam_zerobus import ZerobusWriter
from beam_zerobus.emulator import Emulator
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.schema import TableSchema
from beam_zerobus.writer import current_conversion

TABLE = "main.iot.air"


def test_a_schema_that_was_fetched_earlier_does_not_replace_a_newer_one(
    emulator: Emulator, connect: Callable[..., ZerobusWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = emulator.create_table(TABLE, "id BIGINT")
    writer = connect(TABLE, on_unknown_fields="add", warehouse_id=emulator.warehouse_id)
    assert writer.send([{"id": 1}]).success
    added: list[threading.Thread] = []

    class Slow(Conversion):
        """Another thread adds a column while the first one makes a conversion."""

        def __init__(self, schema: TableSchema, *args: Any, **options: Any) -> None:
            super().__init__(schema, *args, **options)
            if not added:
                added.append(threading.Thread(target=writer.send, args=([{"id": 2, "name": "attic"}],)))
                added[0].start()
                added[0].join(30)

    monkeypatch.setattr(current_conversion, "Conversion", Slow)
    table.add_column("co2 INT")
    assert [column.name for column in writer.look_again().columns] == ["id", "co2", "name"]
    assert not added[0].is_alive()
    assert writer.send([{"id": 3, "name": "cellar"}]).success
    assert sorted(table.to_arrow()["id"].to_pylist()) == [1, 2, 3]
