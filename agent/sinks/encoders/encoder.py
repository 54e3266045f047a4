"""The interface of all schemas: an encoder makes one item of each fork and of each event of the agent itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agent.model import Event, Fork

__all__ = ["Encoder", "Item"]

Item = str | bytes  # JSON text or protobuf


class Encoder(Protocol):
    """A schema, or one that adds to another: envelopes, redaction."""

    def forks(self, stream: str, forks: Sequence[Fork]) -> Sequence[Item]:
        """One item for each fork, in their order.

        `stream`: `<boot id>.<program instance>`, the first half of their ids. It is given with each call, because after an
        upgrade the ring of the program instance before is drained, too.
        """
        ...

    def event(self, event: Event) -> Item:
        """`event`: as wire.events defines it. It is not changed."""
        ...
