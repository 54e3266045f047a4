"""Items -> bodies that are ready to POST, and back again when a receiver finds one too large or took it in part. Pure, but for
the ids' randomness.

Must not live here: what is in an item, how items lie in a body (framing).
"""

from __future__ import annotations

import hashlib
import secrets
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import zstandard
from isal import igzip

from agent.model import Batch
from agent.sinks.encoders.encoder import Item
from agent.sinks.framing import Framing

__all__ = ["ENCODINGS", "Packer"]

ENCODINGS: Final[dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]]] = {
    "none": (bytes, bytes),
    "gzip": (lambda body: igzip.compress(body, compresslevel=1), igzip.decompress),
    "zstd": (zstandard.ZstdCompressor(level=1).compress, zstandard.ZstdDecompressor().decompress),
}
_LONGEST_ID: Final = 96  # characters; a part of a part of a part is named anew before its name outgrows a header


class Packer:
    """`events`, `size`: the most items and uncompressed bytes a body has (one item may be larger)."""

    def __init__(self, framing: Framing[Any], compression: str, events: int, size: int) -> None:
        self._framing = framing
        self._compress, self._decompress = ENCODINGS[compression]
        self._events = events
        self._size = size

    def pack(self, stream: str, items: Sequence[Item], cgroups: Sequence[int], since: float) -> Iterator[Batch]:
        """`cgroups`: where each item's fork was counted; NOBODY: it is none. `since`: when the first came, wall clock."""
        sizes = [*map(self._framing.size, items)]
        start = 0
        while start < len(items):
            stop, size = start + 1, sizes[start]
            while stop < len(items) and stop - start < self._events and (size := size + sizes[stop]) <= self._size:
                stop += 1
            # Random, because it must never come again with other content: not after a restart, and not on another node.
            yield self._batch(secrets.token_hex(16), stream, items[start:stop], cgroups[start:stop], since)
            start = stop

    def halve(self, batch: Batch) -> list[Batch]:
        """The same items, byte for byte, in two bodies; empty when there is one item only."""
        if batch.events < 2:
            return []
        middle = batch.events // 2
        return [self.part(batch, half, str(at)) for at, half in enumerate((range(middle), range(middle, batch.events)))]

    def part(self, batch: Batch, indices: Iterable[int], suffix: str) -> Batch:
        """The items at these places, byte for byte and once each; a receiver may name places that are not there. `suffix`: what
        tells this part from others of the same batch."""
        places = sorted({*indices}.intersection(range(batch.events)))
        items = self._framing.items(self._decompress(batch.body))
        name = f"{batch.id}.{suffix}"
        if len(name) > _LONGEST_ID:
            name = hashlib.sha256(name.encode()).hexdigest()[:32]
        chosen = [items[at] for at in places], [batch.cgroups[at] for at in places]
        return self._batch(name, batch.stream, *chosen, batch.since)

    def _batch(self, name: str, stream: str, items: Sequence[Item], cgroups: Sequence[int], since: float) -> Batch:
        if (order := self._framing.order(items)) is not None:
            items, cgroups = [items[at] for at in order], [cgroups[at] for at in order]
        body = self._framing.body(items)
        return Batch(name, stream, self._compress(body), array("Q", cgroups), since, len(body))
