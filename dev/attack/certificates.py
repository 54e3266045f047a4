"""A CA and a server's certificate for loopback, as the collector's own command makes them."""

from __future__ import annotations

import ssl
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final

from collector.certificates.command import main

__all__ = ["Certificates"]

NAME: Final = "server"


class Certificates:
    """Made in a folder below this one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "certificates"
        self._folder.mkdir()
        with redirect_stdout(sys.stderr):  # the table is on stdout
            code = main(["--folder", str(self._folder), "--server", f"{NAME}=127.0.0.1"])
        if code:
            raise RuntimeError("the certificates can't be made")

    @property
    def ca(self) -> Path:
        return self._folder / "ca.crt"

    @property
    def file(self) -> Path:
        return self._folder / f"{NAME}.crt"

    @property
    def key(self) -> Path:
        return self._folder / f"{NAME}.key"

    def client(self) -> ssl.SSLContext:
        """What verifies the server."""
        return ssl.create_default_context(cafile=str(self.ca))
