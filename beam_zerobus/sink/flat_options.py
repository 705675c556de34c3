"""The sink from flat settings, for those who cannot nest them: flags of a pipeline, Beam YAML, other languages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from apache_beam.transforms.util import GcpSecret

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options import Batching, DebugFiles, Retry, Telemetry
from beam_zerobus.sink import WriteToZerobus
from beam_zerobus.workspace.credentials import EnvironmentVariable, OAuthClientCredentials, SecretValue

__all__ = ["flat_sink"]

_SECRET_VERSION = re.compile(r"projects/[^/]+/secrets/[^/]+/versions/[^/]+")


def flat_sink(
    table: str,
    *,
    client_id_env: str | None = None,
    client_id_gcp_secret: str | None = None,
    client_secret_env: str | None = None,
    client_secret_gcp_secret: str | None = None,
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
        client_id_env: Environment variable of the worker that holds the OAuth client id.
        client_id_gcp_secret: Or its version in Secret Manager, ``projects/P/secrets/S/versions/V``.
        client_secret_env: The client secret's variable likewise.
        client_secret_gcp_secret: Or its version.
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
        credentials=OAuthClientCredentials(
            client_id=_secret("client_id", client_id_env, client_id_gcp_secret),
            client_secret=_secret("client_secret", client_secret_env, client_secret_gcp_secret),
        ),
        batching=Batching(**_given(batching)),
        retry=Retry(**_given(retry)),
        debug_files=DebugFiles(output_dir=debug_dir, **_given({"write_every": debug_write_every}))
        if debug_dir
        else None,
        telemetry=Telemetry(**telemetry) if telemetry else None,
        **_given(settings),
    )


def _secret(name: str, variable: str | None, version: str | None) -> SecretValue:
    """Return where the worker finds a secret; a version that is no name may be the secret, and is not repeated."""
    if variable and version:
        raise ConfigurationError(f"{name}_env and {name}_gcp_secret are both set: give one of them")
    if variable:
        return EnvironmentVariable(variable)
    if version is None:
        return None
    if not _SECRET_VERSION.fullmatch(version):
        raise ConfigurationError(
            f"{name}_gcp_secret names a version of a secret, never the secret itself: "
            "write it as projects/P/secrets/S/versions/latest"
        )
    return GcpSecret(version)


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
