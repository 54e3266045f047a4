"""Decides which certificates are to be made, and makes them: a CA of the installation's own, and what it signs. Pure.

They are kept as files in one place (a Secret, or a folder), in PEM: `ca.crt`, the CAs that clients trust, the newest first;
`ca.key`, the newest one's key; `NAME.crt` and `NAME.key` for each server.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["CA_CERTIFICATES", "CA_KEY", "Renewal", "Terms", "renew"]

CA_CERTIFICATES: Final = "ca.crt"
CA_KEY: Final = "ca.key"
_EARLIER: Final = timedelta(minutes=5)  # certificates begin that long ago: clocks differ
_SPREAD: Final = timedelta(hours=1)  # a kubelet brings a changed Secret to its pods within two minutes


@dataclass(frozen=True, slots=True)
class Terms:
    """How long what is made is valid. A server's certificate is renewed when a third of that is left, a CA when it would end
    before a new server's certificate."""

    server: timedelta = timedelta(days=90)
    ca: timedelta = timedelta(days=3650)


class Renewal(NamedTuple):
    """`files`: all of them, as they should be. `made`: a line for each that is new; empty when nothing had to be done."""

    files: dict[str, bytes]
    made: tuple[str, ...]


class _Authority(NamedTuple):
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def renew(
    files: Mapping[str, bytes], servers: Mapping[str, Sequence[str]], now: datetime, terms: Terms | None = None
) -> Renewal:
    """`files`: what is there; anything unreadable is made anew. `servers`: NAME -> its host names and addresses.

    A new CA is in `ca.crt` for an hour before it signs, so that every client trusts it by then; the one before stays there
    until it ends. So a server is without a valid certificate at no time, when this is called once a day.
    """
    terms = terms or Terms()
    made: list[str] = []
    trusted = [one for one in _certificates(files.get(CA_CERTIFICATES, b"")) if now < one.not_valid_after_utc]
    authority = _authority(files, trusted)
    if authority is None or authority.certificate.not_valid_after_utc < now + terms.server:
        authority = _make_authority(now, terms.ca)
        made.append(f"a CA that ends at {_day(authority.certificate)}")
        trusted.insert(0, authority.certificate)
    new = dict(files) | {CA_CERTIFICATES: b"".join(map(_pem, trusted)), CA_KEY: _key_pem(authority.key)}
    for name, hosts in servers.items():
        reason = _reason(files, name, hosts, authority.certificate, trusted, now)
        if reason:
            certificate, key = _make_server(authority, hosts, now, terms.server)
            new |= {f"{name}.crt": _pem(certificate), f"{name}.key": _key_pem(key)}
            made.append(f"{name}.crt for {', '.join(hosts)}, which ends at {_day(certificate)}: {reason}")
    return Renewal(new, tuple(made))


def _reason(
    files: Mapping[str, bytes],
    name: str,
    hosts: Sequence[str],
    newest: x509.Certificate,
    trusted: Sequence[x509.Certificate],
    now: datetime,
) -> str:
    """Why the server needs another certificate; empty: it does not."""
    present = _certificates(files.get(f"{name}.crt", b""))
    key = _key(files.get(f"{name}.key", b""))
    if not present or key is None or key.public_key() != present[0].public_key():
        return "there was none"
    certificate = present[0]
    if set(_hosts(certificate)) != set(hosts):
        return "the one before was for other names"
    if not any(_has_signed(one, certificate) for one in trusted):
        return "the one before was from another CA"
    left, whole = certificate.not_valid_after_utc - now, certificate.not_valid_after_utc - certificate.not_valid_before_utc
    if left < whole / 3 and (_has_signed(newest, certificate) or _is_spread(newest, now) or left < _SPREAD):
        return "the one before ends soon"
    if not _has_signed(newest, certificate) and _is_spread(newest, now):
        return "there is a newer CA"
    return ""


def _is_spread(authority: x509.Certificate, now: datetime) -> bool:
    return now - (authority.not_valid_before_utc + _EARLIER) >= _SPREAD


def _authority(files: Mapping[str, bytes], trusted: Sequence[x509.Certificate]) -> _Authority | None:
    """The one whose key is there."""
    key = _key(files.get(CA_KEY, b""))
    if key is None:
        return None
    return next((_Authority(one, key) for one in trusted if one.public_key() == key.public_key()), None)


def _make_authority(now: datetime, valid: timedelta) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    # Each has a subject of its own: OpenSSL looks for a CA by it.
    subject = _name(f"forklore CA of {now:%Y-%m-%dT%H:%M:%SZ}")
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _builder(subject, subject, key, now, valid)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return _Authority(builder.sign(key, hashes.SHA256()), key)


def _make_server(
    authority: _Authority, hosts: Sequence[str], now: datetime, valid: timedelta
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(_name("forklore"), issuer.subject, key, now, valid)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return builder.sign(authority.key, hashes.SHA256()), key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, valid: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + valid)
    )


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


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general_name(host: str) -> x509.GeneralName:
    """Raises ValueError for a name that no certificate can have."""
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    return x509.DNSName(host)


def _hosts(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]


def _has_signed(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _certificates(pem: bytes) -> list[x509.Certificate]:
    """Empty when it holds none that can be read."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _day(certificate: x509.Certificate) -> str:
    return f"{certificate.not_valid_after_utc:%Y-%m-%d}"
