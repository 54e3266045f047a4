"""Why a token is refused: a reason for the metric, a status and a sentence for its sender."""

from __future__ import annotations

from enum import Enum

__all__ = ["Reason", "TokenRefused"]


class Reason(Enum):
    """The label of the metric, and the status of the answer: 403 where the sender is known and may not send; 503 where nothing
    is wrong with the token."""

    ALGORITHM = "algorithm", 401
    AUDIENCE = "audience", 401
    CLAIM = "claim", 401
    EXPIRED = "expired", 401
    ISSUER = "issuer", 401
    KEY = "key", 401
    KEYS_UNREAD = "keys_unread", 503
    MALFORMED = "malformed", 401
    MISSING = "missing", 401
    NODE = "node", 403
    NOT_YET = "not_yet", 401
    SERVICE_ACCOUNT = "service_account", 403
    SIGNATURE = "signature", 401
    TWO_CLUSTERS = "two_clusters", 401
    UNKNOWN = "unknown", 401

    def __init__(self, label: str, status: int) -> None:
        self.label = label
        self.status = status


class TokenRefused(Exception):
    """Its text is a sentence that says what is wrong with the token, without any part of it."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
