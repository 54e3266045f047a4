"""A BPF ring buffer of records of one size, read in batches through its map's descriptor, without a call per record.

Positions are read and written by one aligned 64-bit access each (a memoryview of format Q): `struct.pack_into` zeroes its
target first, and while the consumer position is 0 every reserve in the kernel fails. The descriptor is never polled: epoll
returns at once while there are records that were read and not published.

Layout (kernel/bpf/ringbuf.c): a page with the consumer position, which we write, a page with the producer position, the data.
"""

from __future__ import annotations

import mmap
import os
from threading import Lock

__all__ = ["Ring", "RingBroken"]

_BUSY, _DISCARDED = 1 << 31, 1 << 30  # BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT
_HEADER = 8
_WINDOW = 1 << 20  # bytes mapped at a time: the whole ring would count as resident memory twice


class RingBroken(Exception):
    """The ring has a record that the programs never write. Going on would invent forks."""


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
    """`size`: the map's max_entries, bytes. `slot`: bytes of a record with its header, a power of two, so none crosses the end.

    One reader at a time. `read` moves the cursor; `publish` moves the kernel's consumer position, which frees the space.
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

    def read(self, most: int) -> bytes:
        """Up to `most` finished records, with their headers, one after the other. Empty: there is none. Raises RingBroken."""
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
        # arm64 may read the records before their headers: a lock's acquire and release keep the order.
        with self._barrier:
            records = bytes(self._window.data[at : at + count * self.slot])
        self.cursor += count * self.slot
        return records

    def publish(self, position: int) -> None:
        """Frees the space up to `position`, a former `cursor`. Raises ValueError when it cannot be one."""
        if not self._consumed[0] <= position <= self.cursor or position % self.slot:
            raise ValueError(f"a consumer position of {position} is not between {self._consumed[0]} and {self.cursor}")
        with self._barrier:
            pass
        self._consumed[0] = position

    def resume(self, position: int) -> None:
        """Continues at the position that an earlier reader has journaled, if it is ahead of the kernel's. A position that
        cannot be this ring's is ignored."""
        if self._consumed[0] < position <= self._produced[0] and not position % self.slot:
            self.cursor = position
            self.publish(position)

    def rewind(self, position: int) -> None:
        """Moves the cursor back, to read again what was not published."""
        if not self._consumed[0] <= position <= self.cursor or position % self.slot:
            raise ValueError(f"cannot go back to {position}: its space was freed")
        self.cursor = position

    @property
    def is_valid(self) -> bool:
        """False: its positions are impossible, and the kernel might never find space in it again."""
        return 0 <= self._produced[0] - self._consumed[0] <= self.size and not self._consumed[0] % self.slot

    @property
    def end(self) -> int:
        """The position after the last record, unfinished ones included."""
        return int(self._produced[0])

    @property
    def backlog(self) -> int:
        """Records in the ring that were not read yet, unfinished ones included."""
        return int(self._produced[0] - self.cursor) // self.slot

    @property
    def fill(self) -> float:
        """0 to 1: the share of the ring that the kernel cannot write to, including records that were read and not published."""
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
                raise RingBroken(f"{what} at position {self.cursor + count * self.slot}, where {payload} bytes were expected")
        return len(lengths)
