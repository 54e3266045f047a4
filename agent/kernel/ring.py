"""A BPF ring buffer of records of one size, read in batches through its map's descriptor, without a call per record.

Positions are read and written as one aligned 64-bit access each (a memoryview of format Q): `struct.pack_into` zeroes its
target first, and while the consumer position reads 0 every reserve in the kernel fails. The descriptor is never polled: with
taken but unpublished records epoll spins. Must not live here: what a record means.

Layout: kernel/bpf/ringbuf.c: one page of consumer position (ours to write), one of producer position, then the data.
"""

from __future__ import annotations

import mmap
import os
from threading import Lock

__all__ = ["Ring", "RingBroken"]

_BUSY, _DISCARDED = 1 << 31, 1 << 30  # BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT
_HEADER = 8


class RingBroken(Exception):
    """The ring holds what the probe never writes: it and the reader disagree, and going on would invent forks."""


class Ring:
    """`size` is the map's max_entries in bytes; `slot` a record's with its header, a power of two, so none crosses the end.

    One reader at a time. `take` moves a cursor of our own; the kernel gets the room back at `publish`.
    """

    def __init__(self, descriptor: int, size: int, slot: int) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        self.size = size
        self.slot = slot
        self._mask = size - 1
        self._consumer = mmap.mmap(descriptor, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        # The kernel maps the data twice in a row for readers of records that cross the end. Ours never do: once is enough,
        # and half the resident memory.
        self._producer = mmap.mmap(descriptor, page + size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._consumed = memoryview(self._consumer)[:8].cast("Q")
        self._produced = memoryview(self._producer)[:8].cast("Q")
        self._data = memoryview(self._producer)[page:]
        self._words = self._data.cast("I")
        self._barrier = Lock()
        self.cursor = self._consumed[0]

    def take(self, most: int) -> bytes:
        """Up to `most` finished records, headers included, end to end. Empty when there is none. Raises RingBroken."""
        at = self.cursor & self._mask
        waiting = (self._produced[0] - self.cursor) // self.slot
        count = min(waiting, most, (self.size - at) // self.slot)
        if not count:
            return b""
        stride = self.slot // 4
        first = at // 4
        lengths = self._words[first : first + count * stride : stride].tolist()
        payload = self.slot - _HEADER
        if lengths.count(payload) != count:
            count = self._finished(lengths, payload)
            if not count:
                return b""
        # On arm64 the records could be read before their headers were: a lock's acquire and release keep the order.
        with self._barrier:
            taken = bytes(self._data[at : at + count * self.slot])
        self.cursor += count * self.slot
        return taken

    def publish(self, position: int) -> None:
        """Give the room up to `position` (a former `cursor`) back to the kernel. Raises ValueError when it can't be one."""
        if not self._consumed[0] <= position <= self.cursor:
            raise ValueError(f"a consumer position of {position} is not between {self._consumed[0]} and {self.cursor}")
        with self._barrier:
            pass
        self._consumed[0] = position

    @property
    def backlog(self) -> int:
        """Records that are in the ring and not yet taken, unfinished ones included."""
        return int(self._produced[0] - self.cursor) // self.slot

    @property
    def fill(self) -> float:
        """0 to 1: how much of the ring the kernel can't write to, taken but unpublished records included."""
        return float(self._produced[0] - self._consumed[0]) / self.size

    def close(self) -> None:
        for view in (self._words, self._data, self._produced, self._consumed):
            view.release()
        self._producer.close()
        self._consumer.close()

    def _finished(self, lengths: list[int], payload: int) -> int:
        for count, length in enumerate(lengths):
            if length & _BUSY:
                return count
            if length != payload:
                what = "a discarded record" if length & _DISCARDED else f"a record of {length} bytes"
                raise RingBroken(f"{what} at position {self.cursor + count * self.slot}, where {payload} bytes were due")
        return len(lengths)
