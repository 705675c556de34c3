"""Whether endpoint and workspace are set, look right, and can be reached."""

from __future__ import annotations

import os
import socket
import ssl
from urllib.parse import SplitResult, urlsplit, urlunsplit

from beam_zerobus.check.report import Findings
from beam_zerobus.errors import ConfigurationError, TransientError
from beam_zerobus.options.urls import check_url
from beam_zerobus.workspace.addresses import ENDPOINT_EXAMPLE, WORKSPACE_EXAMPLE, is_of_databricks, wrong_address
from beam_zerobus.workspace.bounded import CannotRunError, run_bounded
from beam_zerobus.workspace.http import ask

__all__ = ["check_not_swapped", "check_reachable", "find_addresses"]

_ENDPOINT = ("endpoint", "ZEROBUS_ENDPOINT", ENDPOINT_EXAMPLE)
_WORKSPACE = ("workspace", "DATABRICKS_HOST", WORKSPACE_EXAMPLE)
_LOCAL = ("localhost", "127.0.0.1", "::1")
_CONNECT_LIMIT = 10.0
_PROXIES = {"endpoint": ("grpc_proxy", "https_proxy", "http_proxy"), "workspace": ("https_proxy", "all_proxy")}
"""The variables that the SDK, and that requests, read for https addresses, in lower or upper case."""


def find_addresses(
    findings: Findings, endpoint: str | None, workspace_url: str | None, *, needs_workspace: bool = True
) -> tuple[str | None, str | None]:
    """Report on both addresses as they are written; return those that can be used."""
    names = {
        "endpoint_name": _ENDPOINT[1] if endpoint is None else "endpoint",
        "workspace_name": _WORKSPACE[1] if workspace_url is None else "workspace_url",
    }
    found = (
        _address(findings, endpoint, *_ENDPOINT),
        _address(findings, workspace_url, *_WORKSPACE, needed=needs_workspace),
    )
    endpoint, workspace_url = found
    if (wrong := wrong_address(endpoint, workspace_url, **names)) is not None:
        option, message = wrong
        name = _ENDPOINT[0] if option == "endpoint" else _WORKSPACE[0]
        findings.drop(name)
        alone = ((_ENDPOINT, wrong_address(endpoint, None)), (_WORKSPACE, wrong_address(None, workspace_url)))
        remedies = [f"export {variable}={example}" for (_, variable, example), problem in alone if problem]
        findings.add(name, "fail", message, "\n".join(remedies))
    return found


def _address(
    findings: Findings, given: str | None, name: str, variable: str, example: str, *, needed: bool = True
) -> str | None:
    value = os.environ.get(variable, "") if given is None else given
    set_it = f"export {variable}={example}" + ("" if given is None else "   # and leave the option out")
    set_by = variable if given is None else "endpoint" if name == "endpoint" else "workspace_url"
    if not value and not needed:
        findings.add(name, "skip", f"{variable} is not set: grants and table are not checked")
        return None
    if not value:
        message = f"{set_by} is not set; beam-zerobus emulator prints one for the emulator"
        findings.add(name, "fail", message, set_it)
        return None
    try:
        url = check_url(value, name=set_by, example=example, credentials="DATABRICKS_CLIENT_SECRET").rstrip("/")
    except ConfigurationError as error:
        findings.add(name, "fail", str(error), set_it)
        return None
    host = urlsplit(url).hostname or ""
    if url.startswith("http:") and host not in _LOCAL:
        message = f"{host} is called over http: tokens and rows travel unencrypted"
        findings.add(name, "warn", message, f"export {variable}={url.replace('http:', 'https:', 1)}")
    else:
        findings.add(name, "pass", url)
    return url


def check_reachable(findings: Findings, name: str, url: str) -> None:
    """Report whether the host of a URL has an address, accepts a connection, and has a valid certificate."""
    parts = urlsplit(url)
    step = f"{name}: connection"
    _, variable, example = _ENDPOINT if name == "endpoint" else _WORKSPACE
    again = f"export {variable}={example}"
    proxies = (proxy for lower in _PROXIES[name] for proxy in (lower, lower.upper()))
    if proxy := next((proxy for proxy in proxies if os.environ.get(proxy)), None):
        findings.add(step, "skip", f"{proxy} is set, so that this machine may reach it only through the proxy")
        return
    try:
        said = run_bounded(lambda: _connect(parts), _CONNECT_LIMIT)
    except CannotRunError as error:
        findings.add(step, "fail", f"{parts.hostname}: {error}", f"{again}   # or check network and firewall")
    except socket.gaierror:
        findings.add(step, "fail", f"the host {parts.hostname} cannot be found", f"{again}   # or check DNS")
    except ssl.SSLCertVerificationError as error:
        findings.add(
            step,
            "fail",
            f"the certificate of {parts.hostname} is not valid here: {error.verify_message}",
            "export SSL_CERT_FILE=... REQUESTS_CA_BUNDLE=...   # your company's CA bundle; or check the address",
        )
    except ssl.SSLError:
        there = urlunsplit(parts._replace(scheme="http"))
        remedy = f"export {variable}={there}   # for a local server" if parts.hostname in _LOCAL else again
        findings.add(step, "fail", f"{parts.hostname} does not speak TLS", remedy)
    except OSError as error:
        message = f"{parts.hostname} port {_port(parts)} cannot be reached ({type(error).__name__})"
        if parts.hostname in _LOCAL:
            message += ": start the emulator, and paste the lines that it prints; its ports are new at each start"
        findings.add(step, "fail", message, f"{again}   # or check the port and the firewall")
    else:
        findings.add(step, "pass", said)


def check_not_swapped(findings: Findings, endpoint: str, workspace_url: str) -> None:
    """Report that each address is the other one, where the token failed and the hosts do not show it.

    A workspace speaks HTTP/1.1, and the emulator at its endpoint only HTTP/2.
    """
    if is_of_databricks(endpoint) or is_of_databricks(workspace_url):
        return
    if not _speaks_http(workspace_url) and _speaks_http(endpoint):
        findings.drop("token")
        findings.add(
            "endpoint and workspace",
            "fail",
            f"{endpoint} answers as a workspace does, and {workspace_url} does not: they are swapped",
            f"export {_ENDPOINT[1]}={workspace_url} {_WORKSPACE[1]}={endpoint}",
        )


def _speaks_http(url: str) -> bool:
    try:
        ask("GET", f"{url}/", service="The server", cause="SERVER", headers={})
    except TransientError as error:
        return error.cause != "SERVER_UNREACHABLE"
    except ConfigurationError:  # a redirect, or a large answer
        return True
    return True


def _connect(parts: SplitResult) -> str:
    host, port = parts.hostname or "", _port(parts)
    with socket.create_connection((host, port), _CONNECT_LIMIT) as connection:
        if parts.scheme == "http":
            return f"{host} port {port}"
        with ssl.create_default_context().wrap_socket(connection, server_hostname=host) as secured:
            return f"{host} port {port}, {secured.version()}"


def _port(parts: SplitResult) -> int:
    return parts.port or (80 if parts.scheme == "http" else 443)
