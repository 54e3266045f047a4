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
_WINDOW = 1 << 20  # bytes of the ring that are mapped at a time: all of it would count as resident memory, and twice that


class RingBroken(Exception):
    """The ring holds what the probe never writes: it and the reader disagree, and going on would invent forks."""


class _Window:
    """A part of the data, mapped: 20 us for the 4,096 forks that it holds."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self.start = start
        self._mapping = mmap.mmap(
            descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ, offset=2 * os.sysconf("SC_PAGE_SIZE") + start
        )
        self.data = memoryview(self._mapping)
        self.words = self.data.cast("I")

    def close(self) -> None:
        self.words.release()
        self.data.release()
        self._mapping.close()


class Ring:
    """`size` is the map's max_entries in bytes; `slot` a record's with its header, a power of two, so none crosses the end.

    One reader at a time. `take` moves a cursor of our own; the kernel gets the room back at `publish`.
    """

    def __init__(self, descriptor: int, size: int, slot: int) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        self.size = size
        self.slot = slot
        self._descriptor = os.dup(descriptor)
        self._window_size = min(size, _WINDOW)
        self._consumer = mmap.mmap(descriptor, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer = mmap.mmap(descriptor, page, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._consumed = memoryview(self._consumer)[:8].cast("Q")
        self._produced = memoryview(self._producer)[:8].cast("Q")
        self._barrier = Lock()
        self.cursor = self._consumed[0]
        self._window = self._window_of_cursor()

    def take(self, most: int) -> bytes:
        """Up to `most` finished records, headers included, end to end. Empty when there is none. Raises RingBroken."""
        waiting = (self._produced[0] - self.cursor) // self.slot
        if not waiting:
            return b""
        at = (self.cursor & (self.size - 1)) - self._window.start
        if not 0 <= at < self._window_size:
            self._window.close()
            self._window = self._window_of_cursor()
            at = (self.cursor & (self.size - 1)) - self._window.start
        count = min(waiting, most, (self._window_size - at) // self.slot)
        stride = self.slot // 4
        first = at // 4
        lengths = self._window.words[first : first + count * stride : stride].tolist()
        payload = self.slot - _HEADER
        if lengths.count(payload) != count:
            count = self._finished(lengths, payload)
            if not count:
                return b""
        # On arm64 the records could be read before their headers were: a lock's acquire and release keep the order.
        with self._barrier:
            taken = bytes(self._window.data[at : at + count * self.slot])
        self.cursor += count * self.slot
        return taken

    def publish(self, position: int) -> None:
        """Give the room up to `position` (a former `cursor`) back to the kernel. Raises ValueError when it can't be one."""
        if not self._consumed[0] <= position <= self.cursor or position % self.slot:
            raise ValueError(f"a consumer position of {position} is not between {self._consumed[0]} and {self.cursor}")
        with self._barrier:
            pass
        self._consumed[0] = position

    def resume(self, position: int) -> None:
        """Go on from where an earlier reader had safely come to, if the kernel has not been told so yet. A position that can't
        be one (the ring is another) is not believed."""
        if self._consumed[0] < position <= self._produced[0] and not position % self.slot:
            self.cursor = position
            self.publish(position)

    def rewind(self, position: int) -> None:
        """Take again what was taken since and not published."""
        if not self._consumed[0] <= position <= self.cursor or position % self.slot:
            raise ValueError(f"cannot go back to {position}: the kernel has had it since")
        self.cursor = position

    @property
    def sound(self) -> bool:
        """Whether its positions can be a ring's: with others the kernel may never find room in it again."""
        return 0 <= self._produced[0] - self._consumed[0] <= self.size and not self._consumed[0] % self.slot

    @property
    def end(self) -> int:
        """The position up to which there are records, unfinished ones included."""
        return int(self._produced[0])

    @property
    def backlog(self) -> int:
        """Records that are in the ring and not yet taken, unfinished ones included."""
        return int(self._produced[0] - self.cursor) // self.slot

    @property
    def fill(self) -> float:
        """0 to 1: how much of the ring the kernel can't write to, taken but unpublished records included."""
        return float(self._produced[0] - self._consumed[0]) / self.size

    def close(self) -> None:
        self._window.close()
        self._produced.release()
        self._consumed.release()
        self._producer.close()
        self._consumer.close()
        os.close(self._descriptor)

    def _window_of_cursor(self) -> _Window:
        start = self.cursor & (self.size - 1) & -self._window_size
        return _Window(self._descriptor, start, self._window_size)

    def _finished(self, lengths: list[int], payload: int) -> int:
        for count, length in enumerate(lengths):
            if length & _BUSY:
                return count
            if length != payload:
                what = "a discarded record" if length & _DISCARDED else f"a record of {length} bytes"
                raise RingBroken(f"{what} at position {self.cursor + count * self.slot}, where {payload} bytes were due")
        return len(lengths)
