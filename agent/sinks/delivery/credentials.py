"""Reads a receiver's token, CAs and client certificate from files, again when they are replaced.

Kubernetes replaces a mounted secret by moving a symbolic link, others write the file anew: both are noticed.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from stat import S_ISREG
from typing import Final, NamedTuple

__all__ = ["CertificateFiles", "FileError", "read_token", "tls_context"]

_MAX_TOKEN: Final = 16384  # bytes; most receivers accept headers of at most 8 KiB


class FileError(Exception):
    """Its text is one line: which file, and what is wrong with it."""


class CertificateFiles(NamedTuple):
    """PEM files. `ca`: trusted instead of the system's CAs. `key` None: it is in `cert`."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


def read_token(file: Path) -> str:
    """The file's text, without the space around it. Raises FileError."""
    _check_readable("token_file", file)
    try:
        with file.open("rb") as stream:
            token = stream.read(_MAX_TOKEN + 1).strip().decode()
    except OSError as error:
        raise FileError(f"token_file {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"token_file {file}: is not UTF-8 text") from error
    if len(token) > _MAX_TOKEN:
        raise FileError(f"token_file {file}: is too long for a token")
    return token


def tls_context(files: CertificateFiles) -> ssl.SSLContext:
    """A context that always checks the receiver's certificate and name. Raises FileError."""
    for setting, file in zip(("ca_file", "cert_file", "key_file"), files, strict=True):
        if file is not None:
            _check_readable(setting, file)
    try:
        context = ssl.create_default_context(cafile=files.ca)
    except (ssl.SSLError, ValueError) as error:
        raise FileError(f"ca_file {files.ca}: holds no certificate that can be read (PEM)") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if files.cert:
        try:
            # Without a password OpenSSL would ask for one on the terminal, and wait.
            context.load_cert_chain(files.cert, files.key, password="")
        except (ssl.SSLError, ValueError) as error:
            raise FileError(_pair_error(files, error)) from error
    return context


def _pair_error(files: CertificateFiles, error: Exception) -> str:
    pair = f"cert_file {files.cert}" + (f", key_file {files.key}" if files.key else "")
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return f"{pair}: the key does not belong to the certificate"
    return f"{pair}: do not hold a certificate and its key that can be read (PEM, without a password)"


def _check_readable(setting: str, file: Path) -> None:
    """Raises FileError. OpenSSL does not say which file it could not read, and reading a pipe would wait for its writer."""
    try:
        if not S_ISREG(file.stat().st_mode):
            raise FileError(f"{setting} {file}: is not a file")
        file.open("rb").close()
    except OSError as error:
        raise FileError(f"{setting} {file}: {error.strerror}") from error
