"""Who has made a request, as far as what it showed proves it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Credential"]


@dataclass(frozen=True, slots=True)
class Credential:
    """A verified token, or a user whom a trusted proxy names.

    `name`: stable, for limits, log lines and stored rows; no secret, and none can be computed from it. `cluster`, `node`: where
    the credential is valid only; None: it names none, as a token that agents of several nodes share.
    """

    name: str
    cluster: str | None = None
    node: str | None = None
