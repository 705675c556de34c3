"""Whether endpoint and workspace are set, look right, and can be reached."""

from __future__ import annotations

import os
import socket
import ssl
from urllib.parse import SplitResult, urlsplit

from beam_zerobus.check.report import Report
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.options.urls import check_url
from beam_zerobus.workspace.addresses import ENDPOINT_EXAMPLE, WORKSPACE_EXAMPLE, wrong_address
from beam_zerobus.workspace.bounded import CannotRunError, run_bounded

__all__ = ["check_reachable", "find_addresses"]

_ENDPOINT = ("endpoint", "ZEROBUS_ENDPOINT", ENDPOINT_EXAMPLE)
_WORKSPACE = ("workspace", "DATABRICKS_HOST", WORKSPACE_EXAMPLE)
_CONNECT_LIMIT = 10.0
_PROXIES = {"endpoint": ("grpc_proxy", "https_proxy", "http_proxy"), "workspace": ("https_proxy", "all_proxy")}
"""The variables that the SDK, and that requests, read for https addresses, in lower or upper case."""


def find_addresses(report: Report, endpoint: str | None, workspace_url: str | None) -> tuple[str | None, str | None]:
    """Report on both addresses as they are written; return those that can be used."""
    found = _address(report, endpoint, *_ENDPOINT), _address(report, workspace_url, *_WORKSPACE)
    if (wrong := wrong_address(*found)) is not None:
        option, message = wrong
        name, variable, _ = _ENDPOINT if option == "endpoint" else _WORKSPACE
        report.findings = [finding for finding in report.findings if finding.name != name]
        report.add(name, "fail", message, f"export {variable}=https://...")
    return found


def _address(report: Report, given: str | None, name: str, variable: str, example: str) -> str | None:
    value = os.environ.get(variable, "") if given is None else given
    if not value:
        report.add(name, "fail", f"{variable} is not set", f"export {variable}={example}")
        return None
    try:
        url = check_url(value, name=variable, example=example, credentials="DATABRICKS_CLIENT_SECRET").rstrip("/")
    except ConfigurationError as error:
        report.add(name, "fail", str(error), f"export {variable}={example}")
        return None
    host = urlsplit(url).hostname or ""
    if url.startswith("http:") and host not in ("localhost", "127.0.0.1", "::1"):
        report.add(name, "warn", f"{host} is called over http: tokens and rows travel unencrypted", "use https://")
    else:
        report.add(name, "pass", url)
    return url


def check_reachable(report: Report, name: str, url: str) -> None:
    """Report whether the host of a URL has an address, accepts a connection, and has a valid certificate."""
    parts = urlsplit(url)
    step = f"{name}: connection"
    variables = (variable for lower in _PROXIES[name] for variable in (lower, lower.upper()))
    if proxy := next((variable for variable in variables if os.environ.get(variable)), None):
        report.add(step, "skip", f"{proxy} is set, so that this machine may reach it only through the proxy")
        return
    try:
        said = run_bounded(lambda: _connect(parts), _CONNECT_LIMIT)
    except CannotRunError as error:
        report.add(step, "fail", f"{parts.hostname}: {error}", "check the network and firewall between here and there")
    except socket.gaierror:
        report.add(
            step, "fail", f"the host {parts.hostname} cannot be found", f"check the address of the {name}, and DNS"
        )
    except ssl.SSLCertVerificationError as error:
        report.add(
            step,
            "fail",
            f"the certificate of {parts.hostname} is not valid here: {error.verify_message}",
            "set SSL_CERT_FILE and REQUESTS_CA_BUNDLE to your company's CA bundle, or check the address",
        )
    except ssl.SSLError:
        report.add(
            step, "fail", f"{parts.hostname} does not speak TLS", "begin the address of a local server with http://"
        )
    except OSError as error:
        report.add(
            step,
            "fail",
            f"{parts.hostname} port {_port(parts)} cannot be reached ({type(error).__name__})",
            "check the address, the port and the firewall",
        )
    else:
        report.add(step, "pass", said)


def _connect(parts: SplitResult) -> str:
    host, port = parts.hostname or "", _port(parts)
    with socket.create_connection((host, port), _CONNECT_LIMIT) as connection:
        if parts.scheme == "http":
            return f"{host} port {port}"
        with ssl.create_default_context().wrap_socket(connection, server_hostname=host) as secured:
            return f"{host} port {port}, {secured.version()}"


def _port(parts: SplitResult) -> int:
    return parts.port or (80 if parts.scheme == "http" else 443)
