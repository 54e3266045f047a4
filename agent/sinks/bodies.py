"""Lines -> bodies that are ready to POST, and back again when a receiver finds one too large. Pure.

Must not live here: what is in a line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Final

import orjson
import zstandard
from isal import igzip

from agent.nouns import Batch
from wire.events import FORK

__all__ = ["ENCODINGS", "Packer", "line_bytes", "line_forks", "lines_of"]

ENCODINGS: Final[dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]]] = {
    "none": (bytes, bytes),
    "gzip": (lambda body: igzip.compress(body, compresslevel=1), igzip.decompress),
    "zstd": (zstandard.ZstdCompressor(level=1).compress, zstandard.ZstdDecompressor().decompress),
}


class Packer:
    """`events`, `size`: the most lines and uncompressed bytes a body has (one line may be larger). `prefix`: of batch ids."""

    def __init__(self, compression: str, events: int, size: int, prefix: str) -> None:
        self._compress, self._decompress = ENCODINGS[compression]
        self._events = events
        self._size = size
        self._prefix = prefix
        self._number = count()

    def pack(self, lines: Sequence[str], cgroups: Sequence[int | None], since: float) -> Iterator[Batch]:
        """`cgroups`: whose fork each line is; None: none. `since`: when the first came."""
        start = 0
        while start < len(lines):
            stop, size = start, 0
            while stop < len(lines) and stop - start < self._events:
                size += line_bytes(lines[stop])
                if size > self._size and stop > start:
                    break
                stop += 1
            yield self._batch(lines[start:stop], cgroups[start:stop], f"{self._prefix}.{next(self._number)}", since)
            start = stop

    def halve(self, batch: Batch) -> list[Batch]:
        """The same lines, byte for byte, in two bodies; empty when there is one line only."""
        lines = lines_of(batch.body, self._decompress)
        if len(lines) < 2:
            return []
        middle = len(lines) // 2
        halves = enumerate((lines[:middle], lines[middle:]))
        return [self._batch(half, [line_forks(line) for line in half], f"{batch.id}.{at}", batch.since) for at, half in halves]

    def forks_at(self, batch: Batch, numbers: Sequence[int]) -> Counter[int]:
        """Whose forks the lines with these numbers are."""
        lines = lines_of(batch.body, self._decompress)
        return Counter(
            cgroup for at in set(numbers) if 0 <= at < len(lines) and (cgroup := line_forks(lines[at])) is not None
        )

    def _batch(self, lines: Sequence[str], cgroups: Sequence[int | None], name: str, since: float) -> Batch:
        text = "\n".join(lines) + "\n"
        # What can't be UTF-8 (a lone surrogate in a path) was replaced where it came in; this is for what was overlooked.
        body = self._compress(text.encode(errors="replace"))
        forks = Counter(cgroup for cgroup in cgroups if cgroup is not None)
        return Batch(name, body, len(lines), forks, since)


def line_bytes(line: str) -> int:
    """Its newline included."""
    return (len(line) if line.isascii() else len(line.encode(errors="replace"))) + 1


def lines_of(body: bytes, decompress: Callable[[bytes], bytes]) -> list[str]:
    return decompress(body).decode().split("\n")[:-1]


def line_forks(line: str) -> int | None:
    """The cgroup that the line's fork was counted in; None when it tells of something else."""
    event = orjson.loads(line)
    if event["event"] != FORK:
        return None
    # A process that entered its container later was counted where it was made: where its parent was.
    entered = event["enrichment"]["by"] == "attach"
    return int(((event["parent_cgroup"] if entered else None) or event["cgroup"])["id"])
