"""Who may come in: a bearer token out of a file, and the cookie that a browser gets for it.

Must not live here: routes and pages.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from pathlib import Path
from typing import Final

__all__ = ["COOKIE", "Tokens"]

COOKIE: Final = "forklore"
_log = logging.getLogger(__name__)


class Tokens:
    """The token as the file has it now; read again when the file changes, as Kubernetes swaps a mounted secret under us."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._token = b""
        self._seen: tuple[int, int, int] | None = None
        self._complained = False

    @property
    def wanted(self) -> bool:
        return self._path is not None

    def fits(self, token: str) -> bool:
        """Compared in constant time, so that no one can guess it letter by letter."""
        now = self._now()
        return bool(now) and hmac.compare_digest(now, token.strip().encode("utf-8", "surrogateescape"))

    def fits_header(self, authorization: str | None) -> bool:
        """`Bearer <token>`, the scheme in any case."""
        scheme, _, token = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and self.fits(token)

    def fits_cookie(self, cookie: str | None) -> bool:
        return (
            cookie is not None
            and bool(self._now())
            and hmac.compare_digest(self.cookie().encode(), cookie.encode("utf-8", "surrogateescape"))
        )

    def cookie(self) -> str:
        """Says that the token was shown, without holding it; worth nothing as soon as the token changes."""
        return hmac.new(self._now(), b"forklore collector, page", hashlib.sha256).hexdigest()

    def _now(self) -> bytes:
        """The file's token; the last good one while the file is away or empty: a half-done rotation must lock no one out."""
        if self._path is None:
            return b""
        try:
            state = self._path.stat()
            seen = (state.st_mtime_ns, state.st_size, state.st_ino)
            if seen != self._seen:
                token = self._path.read_bytes().strip()
                if not token:
                    raise OSError("it is empty")
                if self._seen is not None:
                    _log.info("token_file %s changed: the new token holds from now on", self._path)
                self._token, self._seen, self._complained = token, seen, False
        except OSError as wrong:
            if not self._complained:
                _log.warning("token_file %s cannot be read (%s): the last token stays", self._path, wrong)
                self._complained = True
        return self._token
