"""A token that may read, which the collector makes for itself: no installation has to invent and store one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from collector.http.tokens import tokens_in

__all__ = ["generate_token", "generated_token"]


def generate_token(file: Path) -> None:
    """Makes one of 256 bits, unless the file is there; only this user can read it. Raises OSError."""
    if file.exists():
        return
    half = file.with_name(f".{file.name}.new")  # a crash leaves no empty file under the name itself
    half.unlink(missing_ok=True)
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as opened:
        opened.write(secrets.token_urlsafe(32) + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    half.rename(file)


def generated_token(file: Path) -> str:
    """Raises OSError, ValueError."""
    return tokens_in(file.read_bytes())[0].token.decode()
