"""The sink from flat settings, for those who cannot nest them: flags of a pipeline, Beam YAML, other languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beam_zerobus.auth import OAuthClientCredentials, SecretValue
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options import Batching, DebugFiles, Retry, Telemetry
from beam_zerobus.sink import WriteToZerobus

__all__ = ["flat_sink"]


def flat_sink(
    table: str,
    *,
    client_id: SecretValue = None,
    client_secret: SecretValue = None,
    batch_max_rows: int | None = None,
    batch_max_bytes: int | None = None,
    batch_max_delay: float | None = None,
    batch_across_bundles: bool | None = None,
    max_retries: int | None = None,
    initial_backoff: float | None = None,
    max_backoff: float | None = None,
    debug_dir: str | None = None,
    debug_write_every: int | None = None,
    telemetry_endpoint: str | None = None,
    telemetry_protocol: str | None = None,
    telemetry_service_name: str | None = None,
    telemetry_attributes: Mapping[str, str] | None = None,
    **settings: Any,
) -> WriteToZerobus:
    """Make the sink; what is None keeps its default, which is told in one place only.

    Args:
        table: ``catalog.schema.table``.
        client_id: The OAuth client id, or where the worker finds it.
        client_secret: The client secret likewise.
        batch_max_rows: `Batching.max_rows`, and so on for the others of this prefix.
        batch_max_bytes: See `Batching`.
        batch_max_delay: See `Batching`.
        batch_across_bundles: See `Batching`.
        max_retries: See `Retry`.
        initial_backoff: See `Retry`.
        max_backoff: See `Retry`.
        debug_dir: `DebugFiles.output_dir`; no debug files without it.
        debug_write_every: `DebugFiles.write_every`.
        telemetry_endpoint: `Telemetry.endpoint`, and so on for the others of this prefix.
        telemetry_protocol: See `Telemetry`.
        telemetry_service_name: See `Telemetry`.
        telemetry_attributes: `Telemetry.resource_attributes`.
        settings: Settings of `WriteToZerobus` that are flat there too.

    Raises:
        ConfigurationError: A setting is wrong; the message names it.
    """
    batching = {
        "max_rows": batch_max_rows,
        "max_bytes": batch_max_bytes,
        "max_delay": batch_max_delay,
        "across_bundles": batch_across_bundles,
    }
    retry = {"max_retries": max_retries, "initial_backoff": initial_backoff, "max_backoff": max_backoff}
    telemetry = _given(
        {
            "endpoint": telemetry_endpoint,
            "protocol": telemetry_protocol,
            "service_name": telemetry_service_name,
            "resource_attributes": dict(telemetry_attributes) if telemetry_attributes else None,
        }
    )
    if debug_write_every is not None and not debug_dir:
        raise ConfigurationError("debug_write_every has no effect without debug_dir: name the directory")
    return WriteToZerobus(
        table,
        credentials=OAuthClientCredentials(client_id=client_id, client_secret=client_secret),
        batching=Batching(**_given(batching)),
        retry=Retry(**_given(retry)),
        debug_files=DebugFiles(output_dir=debug_dir, **_given({"write_every": debug_write_every}))
        if debug_dir
        else None,
        telemetry=Telemetry(**telemetry) if telemetry else None,
        **_given(settings),
    )


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
