"""Packs items into bodies that are ready to POST, and splits a body again that a receiver finds too large or takes in part.

Pure, but for the randomness of batch ids.
"""

from __future__ import annotations

import hashlib
import secrets
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import zstandard
from isal import igzip

from agent.model import Batch
from agent.sinks.encoders.encoder import Item
from agent.sinks.framing import Framing

__all__ = ["COMPRESSIONS", "BatchLimits", "Compression", "Packer"]

_MAX_ID: Final = 96  # characters, which fit into a header; a part of a part of a part gets a hash as its id


class Compression(NamedTuple):
    """Both functions take and return a whole body."""

    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]


# By the name that `Content-Encoding` has.
COMPRESSIONS: Final = {
    "none": Compression(bytes, bytes),
    "gzip": Compression(lambda body: igzip.compress(body, compresslevel=1), igzip.decompress),
    "zstd": Compression(zstandard.ZstdCompressor(level=1).compress, zstandard.ZstdDecompressor().decompress),
}


class BatchLimits(NamedTuple):
    """The most items and uncompressed bytes of a batch (a single item may be larger), and how long an item waits for others."""

    items: int
    bytes: int
    wait_s: float = 0.0


class Packer:
    """Makes batches of items. `framing`: how items make a body. `compression`: a key of COMPRESSIONS."""

    def __init__(self, framing: Framing[Any], compression: str, limits: BatchLimits) -> None:
        self.framing = framing
        self.limits = limits
        self._compression = COMPRESSIONS[compression]

    def pack(self, stream: str, items: Sequence[Item], cgroups: Sequence[int], since: float) -> Iterator[Batch]:
        """`cgroups`: for each item the cgroup that its fork was counted in, or NO_CGROUP for an event of the agent itself.

        `since`: when the first item came, seconds of the wall clock.
        """
        limits = self.limits
        sizes = [*map(self.framing.size, items)]
        start = 0
        while start < len(items):
            stop, size = start + 1, sizes[start]
            while stop < len(items) and stop - start < limits.items and (size := size + sizes[stop]) <= limits.bytes:
                stop += 1
            # Random, so that an id never comes again with other content: not after a restart, and not on another node.
            yield self._batch(secrets.token_hex(16), stream, items[start:stop], cgroups[start:stop], since)
            start = stop

    def split(self, batch: Batch) -> list[Batch]:
        """The same items, byte for byte, in two bodies. Empty when the batch has one item only."""
        if batch.events < 2:
            return []
        middle = batch.events // 2
        return [self.part(batch, half, str(at)) for at, half in enumerate((range(middle), range(middle, batch.events)))]

    def part(self, batch: Batch, indices: Iterable[int], suffix: str) -> Batch:
        """The items at these indices, byte for byte, each once and in the body's order.

        Indices that are not in the batch are left out: a receiver may name any. `suffix`: what the part's id has and those of
        the batch's other parts do not.
        """
        chosen = sorted({*indices}.intersection(range(batch.events)))
        items = self.framing.items(self._compression.decompress(batch.body))
        name = f"{batch.id}.{suffix}"
        if len(name) > _MAX_ID:
            name = hashlib.sha256(name.encode()).hexdigest()[:32]
        return self._batch(name, batch.stream, [items[at] for at in chosen], [batch.cgroups[at] for at in chosen], batch.since)

    def _batch(self, name: str, stream: str, items: Sequence[Item], cgroups: Sequence[int], since: float) -> Batch:
        if (order := self.framing.order(items)) is not None:
            items, cgroups = [items[at] for at in order], [cgroups[at] for at in order]
        body = self.framing.body(items)
        return Batch(name, stream, self._compression.compress(body), array("Q", cgroups), since, len(body))
