"""The emulator's certificates: an authority of its own, which signs one certificate for both ports."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from beam_zerobus.errors import ConfigurationError

__all__ = ["make_certificates"]

_DAYS = 365
_HOST_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_PEM = serialization.Encoding.PEM


def make_certificates(ca_file: Path, server_file: Path, address: str, names: Sequence[str]) -> None:
    """Make an authority and a server's certificate, unless the files hold such that fit.

    So clients that trust the authority still do so after a restart. The authority's key is not kept: nobody can sign
    another certificate that these clients would trust.

    Args:
        ca_file: PEM file of the authority, which clients trust.
        server_file: PEM file of the server's certificate with its key.
        address: The address that the server listens on.
        names: Further names and addresses by which clients reach the server.

    Raises:
        ConfigurationError: A name is not valid, or a file cannot be written.
    """
    here = ("localhost", "127.0.0.1", "::1", address, socket.gethostname())
    wanted = [found for name in here if (found := _general_name(name)) is not None]
    for name in names:
        given = _general_name(name)
        if given is None:
            raise ConfigurationError(f"tls_names: {name!r} is not a host name in ASCII or an IP address")
        wanted.append(given)
    if _usable(ca_file, server_file, wanted):
        return
    authority, server = _make(wanted)
    try:
        for path, content, mode in ((ca_file, authority, 0o644), (server_file, server, 0o600)):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, content, mode)
    except OSError as error:
        raise ConfigurationError(
            f"certificates cannot be written to {ca_file.parent}: {error.strerror}; name another storage directory"
        ) from None


def _general_name(name: str) -> x509.GeneralName | None:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        return x509.DNSName(name) if _HOST_NAME.fullmatch(name) else None


def _usable(ca_file: Path, server_file: Path, wanted: Sequence[x509.GeneralName]) -> bool:
    """Return whether there are certificates that belong together, have the names, and are valid for another day."""
    try:
        authority = x509.load_pem_x509_certificate(ca_file.read_bytes())
        pem = server_file.read_bytes()
        server = x509.load_pem_x509_certificate(pem)
        serialization.load_pem_private_key(pem, None)
        server.verify_directly_issued_by(authority)
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # noqa: BLE001 - files that cannot be used for whatever reason are made anew
        return False
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    return server.not_valid_after_utc > tomorrow and set(wanted) <= set(names)


def _make(names: Sequence[x509.GeneralName]) -> tuple[bytes, bytes]:
    """Return a new authority's certificate, and a server's certificate with its key."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    # With strict checks, such as Python's since 3.13, each of these extensions is required.
    issuer = _name("beam_zerobus emulator, own authority")
    ca_identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    authority = (
        _builder(issuer, issuer, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(ca_identifier, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    server = (
        _builder(_name("beam_zerobus emulator"), issuer, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(list(dict.fromkeys(names))), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_identifier), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    key_pem = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return authority.public_bytes(_PEM), server.public_bytes(_PEM) + key_pem


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=_DAYS))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file whose mode is right from its first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
