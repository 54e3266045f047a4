"""Certificates for tests: authorities of their own, and faulty certificates that they sign."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

__all__ = ["Authority"]


class Authority:
    """A CA that only holders of its file trust."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def file(self, folder: Path, name: str = "ca.pem") -> Path:
        """Writes the CA's certificate, for clients that trust it."""
        path = folder / name
        self._ca.cert_pem.write_to_path(path)
        return path

    def server(self, name: str = "127.0.0.1", *, days: int = 1, wants: Authority | None = None) -> ssl.SSLContext:
        """A receiver's side. `days` until it expires; below 0 it has. `wants`: it asks for a client certificate of that CA."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._issue(name, days).configure_cert(context)
        if wants is not None:
            wants._ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def server_files(self, folder: Path, name: str = "127.0.0.1", *, days: int = 1) -> tuple[Path, Path]:
        """A server's certificate and key, as files `tls.crt` and `tls.key`, which are replaced if they are there."""
        issued = self._issue(name, days)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        for file, text in (("tls.key", issued.private_key_pem.bytes()), ("tls.crt", chain)):
            new = folder / f".{file}"
            new.write_bytes(text)
            new.replace(folder / file)
        return folder / "tls.crt", folder / "tls.key"

    def trusting(self) -> ssl.SSLContext:
        """A client's side."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context

    def client(self, folder: Path, name: str = "agent", *, days: int = 1) -> tuple[Path, Path]:
        """A sender's certificate and key, as files."""
        issued = self._issue(f"{name}.example", days)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return certificate, key

    def _issue(self, name: str, days: int) -> trustme.LeafCert:
        now = datetime.now(UTC)
        return self._ca.issue_cert(name, not_before=now - timedelta(days=30), not_after=now + timedelta(days=days))
