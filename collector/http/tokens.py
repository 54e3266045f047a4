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
    """One a line. Raises ValueError, whose text has nothing of the file's content."""
    tokens = tuple(token for line in text.splitlines() if (token := line.strip()))
    if not tokens:
        raise ValueError("it is empty")
    if len(tokens) > MOST or max(map(len, tokens)) > LONGEST:
        raise ValueError(f"more than {MOST} lines, or one of more than {LONGEST} bytes")
    return tokens


class TokenFile:
    """The tokens of a file, which is read again when it changes: Kubernetes replaces mounted secrets.

    Several are valid at once, so that they can be exchanged one reader after the other.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokens: tuple[bytes, ...] = ()
        self._seen: tuple[int, int, int] | None = None
        self._has_warned = False

    def fits(self, token: str) -> bool:
        """Compared in constant time with each of them, so that a token cannot be guessed letter by letter."""
        return _any_same(token.encode("utf-8", "surrogateescape"), self._now())

    def fits_cookie(self, cookie: str) -> bool:
        return _any_same(cookie.encode("utf-8", "surrogateescape"), tuple(_cookie(token) for token in self._now()))

    @staticmethod
    def cookie(token: str) -> str:
        """Proves that the token was presented, without containing it; invalid as soon as the file has the token no more."""
        return _cookie(token.encode("utf-8", "surrogateescape")).decode()

    @staticmethod
    def name(cookie: str) -> str:
        """Of the token that the cookie is for; neither token nor cookie can be computed from it."""
        return f"token {hashlib.sha256(cookie.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"

    def _now(self) -> tuple[bytes, ...]:
        """The last valid ones while the file is missing or empty: a half-done rotation must lock out no user."""
        try:
            state = self._path.stat()
            seen = (state.st_mtime_ns, state.st_size, state.st_ino)
            if seen != self._seen:
                tokens = tokens_in(self._path.read_bytes())
                if self._seen is not None:
                    _log.info("%s changed: %d tokens are valid now", self._path, len(tokens))
                self._tokens, self._seen, self._has_warned = tokens, seen, False
        except (OSError, ValueError) as error:
            if not self._has_warned:
                _log.warning("%s cannot be read (%s): its last tokens stay valid", self._path, error)
                self._has_warned = True
        return self._tokens


def _any_same(shown: bytes, known: tuple[bytes, ...]) -> bool:
    # Digests have one length, so that a token's cannot be measured; a list, so that each is compared.
    digest = hashlib.sha256(shown).digest()
    return any([hmac.compare_digest(digest, hashlib.sha256(one).digest()) for one in known])  # noqa: C419


def _cookie(token: bytes) -> bytes:
    return hmac.new(token, b"forklore collector, page", hashlib.sha256).hexdigest().encode()
