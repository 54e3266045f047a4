"""Bearer tokens in a file, and the cookie that a browser gets for one."""

from __future__ import annotations

import hashlib
import hmac
import logging
from pathlib import Path
from typing import Final

__all__ = ["COOKIE", "TokenFile", "tokens_in"]

COOKIE: Final = "forklore"
MOST: Final = 64  # tokens in a file: two while they are exchanged, or one for each team
LONGEST: Final = 4096  # bytes of one
_log = logging.getLogger(__name__)


def tokens_in(text: bytes) -> tuple[bytes, ...]:
    """One a line. Raises ValueError with what is wrong; its text holds nothing of the file."""
    tokens = tuple(token for line in text.splitlines() if (token := line.strip()))
    if not tokens:
        raise ValueError("it is empty")
    if len(tokens) > MOST or max(map(len, tokens)) > LONGEST:
        raise ValueError(f"more than {MOST} lines, or one of more than {LONGEST} bytes")
    return tokens


class TokenFile:
    """The tokens as the file has them now: read again when it changes, as Kubernetes swaps a mounted secret under us.

    Several are good at once, so that they can be exchanged one reader after the other.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokens: tuple[bytes, ...] = ()
        self._seen: tuple[int, int, int] | None = None
        self._complained = False

    def fits(self, token: str) -> bool:
        """Compared in constant time, and with each of them, so that no one can guess it letter by letter."""
        return _any_same(token.encode("utf-8", "surrogateescape"), self._now())

    def fits_cookie(self, cookie: str) -> bool:
        return _any_same(cookie.encode("utf-8", "surrogateescape"), tuple(_cookie(token) for token in self._now()))

    @staticmethod
    def cookie(token: str) -> str:
        """Says that the token was shown, without holding it; worth nothing as soon as the file has it no more."""
        return _cookie(token.encode("utf-8", "surrogateescape")).decode()

    def _now(self) -> tuple[bytes, ...]:
        """The last good ones while the file is away or empty: a half-done rotation must lock no one out."""
        try:
            state = self._path.stat()
            seen = (state.st_mtime_ns, state.st_size, state.st_ino)
            if seen != self._seen:
                tokens = tokens_in(self._path.read_bytes())
                if self._seen is not None:
                    _log.info("%s changed: %d tokens hold from now on", self._path, len(tokens))
                self._tokens, self._seen, self._complained = tokens, seen, False
        except (OSError, ValueError) as error:
            if not self._complained:
                _log.warning("%s cannot be read (%s): the last tokens stay", self._path, error)
                self._complained = True
        return self._tokens


def _any_same(shown: bytes, known: tuple[bytes, ...]) -> bool:
    # Digests are of one length, so that not even that of a token can be measured; a list, so that each is compared.
    digest = hashlib.sha256(shown).digest()
    return any([hmac.compare_digest(digest, hashlib.sha256(one).digest()) for one in known])  # noqa: C419


def _cookie(token: bytes) -> bytes:
    return hmac.new(token, b"forklore collector, page", hashlib.sha256).hexdigest().encode()
