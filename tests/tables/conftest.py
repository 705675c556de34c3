"""Shared by the tests of tables: writers that add columns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from beam_zerobus import ZerobusWriter
from beam_zerobus.emulator import Emulator


@pytest.fixture
def adding(emulator: Emulator, connect) -> Callable[..., ZerobusWriter]:
    """Make writers that add columns."""
    return lambda **options: connect(**{"on_unknown_fields": "add", "warehouse_id": emulator.warehouse_id, **options})
