"""A server's certificate and key in files, which are read again when they change: a renewal needs no restart."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import Final

from wire.http.file_versions import file_versions

__all__ = ["CertificateError", "ServerCertificate"]

_CHECK_S: Final = 1.0  # between two looks at the files, however many connections come
_SOON_S: Final = 7 * 86400.0  # before the end, within which a certificate should have been renewed
_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17  # ASN.1 tags
_log = logging.getLogger(__name__)


class CertificateError(Exception):
    """The files hold no certificate and its key; the text says which file and why."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    context: ssl.SSLContext
    expires_s: float


class ServerCertificate:
    """`certificate`: PEM, with the chain behind it. `key`: PEM without a password; None: it is in `certificate`, too.

    A connection takes `context` when it begins: those that are open keep theirs. `expires_s`: when it ends, in seconds since
    1970. `error`: why the files as they are now can't be used; the certificate before is, then. Raises `CertificateError`.
    """

    def __init__(self, certificate: Path, key: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._certificate, self._key = certificate, key or certificate
        self._clock = clock
        self._checked = clock()
        self._versions = file_versions((self._certificate, self._key))
        self._loaded = _load(self._certificate, self._key)
        self._error: str | None = None

    @property
    def context(self) -> ssl.SSLContext:
        self._read_changed()
        return self._loaded.context

    @property
    def expires_s(self) -> float:
        self._read_changed()
        return self._loaded.expires_s

    @property
    def error(self) -> str | None:
        self._read_changed()
        return self._error

    def warning(self, now_s: float) -> str | None:
        """What an operator should know: the files are broken, or the certificate ends within a week. `now_s`: since 1970."""
        if error := self.error:
            return f"the certificate before is used, because {error}"
        left = self.expires_s - now_s
        if left > _SOON_S:
            return None
        ends = datetime.fromtimestamp(self.expires_s, UTC)
        return f"the certificate {self._certificate} {'ends' if left > 0 else 'ended'} at {ends:%Y-%m-%dT%H:%M:%SZ}"

    def _read_changed(self) -> None:
        """Between the two files' replacements they do not fit: so what fails is tried again when a file changes again."""
        now = self._clock()
        if now - self._checked < _CHECK_S:
            return
        self._checked = now
        versions = file_versions((self._certificate, self._key))
        if versions == self._versions:
            return
        self._versions = versions
        try:
            self._loaded = _load(self._certificate, self._key)
        except CertificateError as error:
            if self._error is None:
                _log.error("%s: the certificate before stays in use", error)
            self._error = str(error)
        else:
            self._error = None
            ends = datetime.fromtimestamp(self._loaded.expires_s, UTC)
            _log.info("%s changed: new connections get the certificate that ends at %s", self._certificate, ends)


def _load(certificate: Path, key: Path) -> _Loaded:
    for file in (certificate, key):
        _check_readable(file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password OpenSSL would ask for one on the terminal, and wait.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise CertificateError(f"the key in {key} does not belong to the certificate in {certificate}") from error
        raise CertificateError(
            f"{certificate} and {key} do not hold a certificate and its key that can be read (PEM, without a password)"
        ) from error
    try:
        return _Loaded(context, _not_after(certificate.read_text(encoding="ascii", errors="replace")))
    except (OSError, ValueError, IndexError) as error:
        raise CertificateError(f"{certificate}: the end of its validity can't be read") from error


def _check_readable(file: Path) -> None:
    """OpenSSL does not say which file it could not read, and reading a pipe would wait for its writer."""
    try:
        if not S_ISREG(file.stat().st_mode):
            raise CertificateError(f"{file} is not a file")
        file.open("rb").close()
    except OSError as error:
        raise CertificateError(f"{file} can't be read: {error.strerror}") from error


def _not_after(pem: str) -> float:
    """Of the first certificate, in seconds since 1970. RFC 5280, 4.1: Certificate > TBSCertificate > version, serialNumber,
    signature, issuer, validity > notBefore, notAfter. Python's ssl tells it only for a peer's certificate."""
    begin = pem.index("-----BEGIN CERTIFICATE-----")
    end = pem.index("-----END CERTIFICATE-----", begin) + len("-----END CERTIFICATE-----")
    der = ssl.PEM_cert_to_DER_cert(pem[begin:end])
    fields = _inside(_inside(der)[0][1])
    if fields[0][0] == _VERSION:
        fields = fields[1:]
    tag, text = _inside(fields[3][1])[1]
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC).timestamp()


def _inside(der: bytes) -> list[tuple[int, bytes]]:
    """Tag and content of each element; of a SEQUENCE that is the only one, those within."""
    elements = []
    position = 0
    while position < len(der):
        tag, length = der[position], der[position + 1]
        position += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(der[position : position + size], "big")
            position += size
        elements.append((tag, der[position : position + length]))
        position += length
    if len(elements) == 1 and elements[0][0] == _SEQUENCE:
        return _inside(elements[0][1])
    return elements
