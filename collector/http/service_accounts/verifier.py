"""The clusters' keys and what they have verified: an agent shows the same token with every batch, for an hour."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from collector.http.service_accounts.key_sources import KeySources
from collector.http.service_accounts.verification import Verified, issuer_of, verify
from collector.http.token_refusals import Reason, TokenRefused
from collector.model import Credential

__all__ = ["TokenVerifier"]

_KEPT: Final = 8192  # tokens, the most recent: as many as a collector has connections


class TokenVerifier:
    """`sources`: kept up to date by their own task. `clock`: seconds since 1970."""

    def __init__(self, sources: KeySources, audience: str, clock: Callable[[], float] = time.time) -> None:
        self.sources, self._audience, self._clock = sources, audience, clock
        self._verified: OrderedDict[bytes, Verified] = OrderedDict()
        self._version = 0

    def credential(self, token: str) -> Credential:
        """Raises TokenRefused."""
        if self._version != self.sources.version:  # a key may be gone
            self._verified.clear()
            self._version = self.sources.version
        digest, now = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest(), self._clock()
        known = self._verified.get(digest)
        if known is not None and now <= known.until:
            self._verified.move_to_end(digest)
            return known.credential
        try:
            verified = verify(token, self.sources.issuers, self._audience, now)
        except TokenRefused as refused:
            if refused.reason not in (Reason.KEY, Reason.ISSUER):
                raise
            self.sources.refresh_soon()
            if self.sources.has_unread(issuer_of(token)):
                raise TokenRefused(Reason.KEYS_UNREAD, "the keys of the token's cluster are not read yet; try again") from None
            raise
        self._verified[digest] = verified
        if len(self._verified) > _KEPT:
            self._verified.popitem(last=False)
        return verified.credential
