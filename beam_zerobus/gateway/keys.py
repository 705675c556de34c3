"""The keys that set a table's options in the gateway's file, and messages that name options as these keys."""

from __future__ import annotations

from beam_zerobus.options import DebugFiles, Retry, Telemetry
from beam_zerobus.options.fields import options_of
from beam_zerobus.options.wording import for_client, for_toml
from beam_zerobus.writer.config import WriterConfig

__all__ = ["GROUPS", "TABLE_OPTIONS", "to_client", "to_operator"]

TABLE_OPTIONS = frozenset(option.name for option in options_of(WriterConfig)) - {"table", "key"}
"""What ``[defaults]`` and the table of each table may set."""

GROUPS = {"retry": Retry, "debug_files": DebugFiles, "telemetry": Telemetry}
"""Options that are TOML tables, and the classes that declare what is in these."""

_KEYS = {name: name for name in TABLE_OPTIONS} | {
    f"{declared_by.__name__}.{option.name}": f"{group}.{option.name}"
    for group, declared_by in GROUPS.items()
    for option in options_of(declared_by)
}
to_client = for_client(_KEYS)
to_operator = for_toml(_KEYS)
