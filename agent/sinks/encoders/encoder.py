"""What every schema is: an encoder, which makes one item of each fork and of each event of the agent's own.

Must not live here: any one schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agent.model import Event, Fork

__all__ = ["Encoder", "Item"]

Item = str | bytes  # JSON text or protobuf


class Encoder(Protocol):
    def forks(self, stream: str, forks: Sequence[Fork]) -> Sequence[Item]:
        """One each, in their order. `stream`: `<boot id>.<epoch>`, the first half of their ids; given with each call, because
        an upgrade drains the ring of the epoch before."""
        ...

    def event(self, event: Event) -> Item:
        """`event`: in wire.events' shape; it is not altered."""
        ...
