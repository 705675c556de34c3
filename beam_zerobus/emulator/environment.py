"""The environment of programs that are to write to an emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beam_zerobus.emulator.emulator import Emulator

__all__ = ["environment_of"]


def environment_of(emulator: Emulator) -> dict[str, str]:
    """Return the variables that point beam_zerobus, and the official SDKs' examples, to an emulator."""
    variables = {
        "ZEROBUS_ENDPOINT": emulator.endpoint,
        "DATABRICKS_HOST": emulator.workspace_url,
        # the names that the official SDKs' examples read
        "ZEROBUS_SERVER_ENDPOINT": emulator.endpoint,
        "DATABRICKS_WORKSPACE_URL": emulator.workspace_url,
        "DATABRICKS_CLIENT_ID": emulator.client_id,
        "DATABRICKS_CLIENT_SECRET": emulator.client_secret,
        "DATABRICKS_WAREHOUSE_ID": emulator.warehouse_id,
        "ZEROBUS_CONTROL_TOKEN": emulator.control_token,
    }
    if emulator.ca_file is not None:
        variables |= dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), str(emulator.ca_file))
    return variables
