"""Bearer tokens in a file, and the cookie that a browser gets for one."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from pathlib import Path
from typing import Final, NamedTuple

from collector.model import Credential
from wire.http.file_versions import FileVersions, file_versions

__all__ = ["COOKIE", "StaticToken", "TokenFile", "tokens_in"]

COOKIE: Final = "forklore"
MOST: Final = 10_000  # tokens in a file: one for each node of the largest clusters
LONGEST: Final = 4096  # bytes of one
LARGEST: Final = 1 << 20  # bytes of a file, as of a Kubernetes Secret
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_log = logging.getLogger(__name__)


class StaticToken(NamedTuple):
    """`cluster`, `node`: where it is valid only."""

    token: bytes
    cluster: str | None = None
    node: str | None = None

    @property
    def cookie(self) -> bytes:
        """Proves that the token was presented, without containing it."""
        return hmac.new(self.token, b"forklore collector, page", hashlib.sha256).hexdigest().encode()

    @property
    def may_read(self) -> bool:
        """A token of a node or a cluster is an agent's, and no agent holds what reads."""
        return self.cluster is None and self.node is None

    @property
    def credential(self) -> Credential:
        return Credential(f"token {hashlib.sha256(self.cookie).hexdigest()[:16]}", self.cluster, self.node)


def tokens_in(text: bytes) -> tuple[StaticToken, ...]:
    """One a line: the token alone, or `TOKEN node=NAME`, `TOKEN cluster=NAME node=NAME`. Raises ValueError, whose text has
    nothing of the file's content."""
    if len(text) > LARGEST:
        raise ValueError(f"it has more than {LARGEST} bytes")
    tokens = tuple(_token(line, number) for number, line in enumerate(text.splitlines(), 1) if line.strip())
    if not tokens:
        raise ValueError("it is empty")
    if len(tokens) > MOST:
        raise ValueError(f"more than {MOST} tokens")
    if len({one.token for one in tokens}) < len(set(tokens)):
        raise ValueError("two lines have the same token for different nodes")
    return tokens


def _token(line: bytes, number: int) -> StaticToken:
    token, *words = line.split()
    if not any(b"=" in word for word in words):  # spaces are a part of a token: so it was before a line could name a node
        token, words = line.strip(), []
    if len(token) > LONGEST:
        raise ValueError(f"line {number}: a token of more than {LONGEST} bytes")
    bound = dict(word.decode("utf-8", "replace").split("=", 1) for word in words if b"=" in word)
    if len(bound) < len(words) or not bound.keys() <= {"cluster", "node"} or not all(map(_NAME.fullmatch, bound.values())):
        raise ValueError(f"line {number}: only node=NAME and cluster=NAME may follow a token")
    return StaticToken(token, **bound)


class TokenFile:
    """The tokens of a file, which is read again when it changes: Kubernetes replaces mounted secrets.

    Several are valid at once, so that they can be exchanged one reader after the other.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tokens: dict[bytes, StaticToken] = {}  # by digest: how long a search takes tells nothing about a token
        self._cookies: dict[bytes, StaticToken] = {}
        self._version: FileVersions | None = None
        self._has_warned = False

    def token(self, text: str) -> StaticToken | None:
        """The file's token with this text."""
        self._read_changed()
        return self._tokens.get(_digest(text))

    def token_of_cookie(self, cookie: str) -> StaticToken | None:
        """The token for which a browser got this cookie, as long as the file has it."""
        self._read_changed()
        return self._cookies.get(_digest(cookie))

    def _read_changed(self) -> None:
        """The last valid ones stay while the file is missing or empty: a half-done rotation must lock out no user."""
        version = file_versions((self._path,))  # before its content: what is written meanwhile is read the next time
        if version == self._version:
            return
        try:
            with self._path.open("rb") as file:
                tokens = tokens_in(file.read(LARGEST + 1))
        except (OSError, ValueError) as error:
            if not self._has_warned:
                _log.warning("%s cannot be read (%s): its last tokens stay valid", self._path, error)
                self._has_warned = True
            return
        if self._version is not None:
            _log.info("%s changed: %d tokens are valid now", self._path, len(tokens))
        self._tokens = {hashlib.sha256(one.token).digest(): one for one in tokens}
        self._cookies = {hashlib.sha256(one.cookie).digest(): one for one in tokens}
        self._version, self._has_warned = version, False


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
