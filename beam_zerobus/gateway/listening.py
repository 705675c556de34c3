"""Why a gateway cannot listen: a port is taken, the host is another machine's, certificates cannot be used."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator

from beam_zerobus.gateway.settings import GatewaySettings
from beam_zerobus.options.ports import why_not_free

__all__ = ["fault_of_port", "faults_of_listening"]


def faults_of_listening(settings: GatewaySettings) -> list[str]:
    """Return all that keeps a gateway from listening; Arrow's server only says that it did not start."""
    return [*_faults_of_ports(settings), *_faults_of_certificates(settings)]


def fault_of_port(settings: GatewaySettings, option: str, reason: object) -> str:
    """Return the message that a port cannot be used.

    Args:
        settings: The gateway's.
        option: Which port: ``"port"`` or ``"health_port"``.
        reason: Why.
    """
    return f"{option}={getattr(settings, option)} cannot be used on {settings.host}: {reason}; choose another port"


def _faults_of_ports(settings: GatewaySettings) -> Iterator[str]:
    try:
        socket.getaddrinfo(settings.host, None)
    except (OSError, UnicodeError):  # UnicodeError: it cannot be a name
        yield f"host={settings.host!r} is not known: give an address of this machine"
        return
    if (reason := why_not_free(settings.host, 0)) is not None:
        yield f"host={settings.host!r} cannot be used: {reason}; give an address of this machine"
        return
    for option in ("port", "health_port"):
        port = getattr(settings, option)
        if port is not None and (reason := why_not_free(settings.host, port)) is not None:
            yield fault_of_port(settings, option, reason)
    if settings.port and settings.port == settings.health_port:
        yield f"health_port={settings.health_port} is the port of Arrow Flight too: choose another port"


def _faults_of_certificates(settings: GatewaySettings) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate, key, authority = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if certificate is not None:
        reason = _why_not(lambda: context.load_cert_chain(certificate, key, password=""))
        if reason is not None:
            yield (
                f"tls_certificate={certificate!r} and tls_key={key!r} cannot be used: {reason}; name PEM files of a "
                "certificate and its own key, without a password"
            )
    if authority is not None:
        reason = _why_not(lambda: context.load_verify_locations(authority))
        if reason is not None:
            yield f"tls_client_ca={authority!r} cannot be used: {reason}; name a PEM file of certificates"


def _why_not(load: Callable[[], None]) -> str | None:
    try:
        load()
    except ssl.SSLError as error:
        return error.reason.replace("_", " ").lower() if error.reason else "not a PEM file"
    except OSError as error:
        return error.strerror or type(error).__name__
    return None
