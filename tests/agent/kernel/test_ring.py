"""The ring's reader, on a memfd that is laid out like the kernel's ring buffer: consumer page, producer page, data."""

import mmap
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.kernel import ring as ring_module
from agent.kernel.ring import Ring, RingBroken

PAGE = os.sysconf("SC_PAGE_SIZE")
BUSY, DISCARDED = 1 << 31, 1 << 30
SIZE, SLOT = 4096, 256  # 16 places
PLACES = SIZE // SLOT

WATCHER = """
import mmap, sys
size = int(sys.argv[2])
ring = mmap.mmap(int(sys.argv[1]), size)
position = memoryview(ring)[:8].cast("Q")
stop = memoryview(ring)[size - 8:].cast("Q")
print("ready", flush=True)
last, backwards = 0, 0
while not stop[0]:
    now = position[0]
    backwards += now < last
    last = now
print(backwards)
"""


class KernelSide:
    """The producer: what bpf_ringbuf_reserve, _submit and _discard do to the shared memory. It does not check for space."""

    def __init__(self, size=SIZE, slot=SLOT):
        self.slot, self.size = slot, size
        self.descriptor = os.memfd_create("ring")
        os.ftruncate(self.descriptor, 2 * PAGE + size)
        self._memory = mmap.mmap(self.descriptor, 2 * PAGE + size)
        self._words = memoryview(self._memory)
        self.consumer = self._words[:8].cast("Q")
        self.producer = self._words[PAGE : PAGE + 8].cast("Q")

    def reserve(self):
        """Returns the record's position; until it is submitted it is busy."""
        at = self.producer[0]
        self.header(at, (self.slot - 8) | BUSY)
        self.producer[0] = at + self.slot
        return at

    def header(self, at, length):
        start = 2 * PAGE + at % self.size
        self._words[start : start + 4].cast("I")[0] = length

    def fill(self, at, number):
        start = 2 * PAGE + at % self.size + 8
        self._words[start : start + self.slot - 8] = number.to_bytes(8, sys.byteorder) * ((self.slot - 8) // 8)
        self.header(at, self.slot - 8)

    def submit(self, *numbers):
        for number in numbers:
            self.fill(self.reserve(), number)

    @property
    def free(self):
        return (self.size - (self.producer[0] - self.consumer[0])) // self.slot


def numbers(records, slot=SLOT):
    """The number in each record; all words of a record are equal, or it was read while it was written."""
    assert len(records) % slot == 0
    found = []
    for at in range(0, len(records), slot):
        words = set(memoryview(records)[at + 8 : at + slot].cast("Q"))
        assert len(words) == 1
        found += words
    return found


@pytest.fixture(scope="module")
def narrow():
    """One page of the data is mapped at a time, so that a small ring has several windows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ring_module, "_WINDOW", PAGE)
        yield


@pytest.fixture
def kernel():
    return KernelSide()


@pytest.fixture
def ring(kernel):
    ring = Ring(kernel.descriptor, SIZE, SLOT)
    yield ring
    ring.close()


def test_an_empty_ring_returns_nothing(ring):
    assert ring.read(100) == b""
    assert (ring.backlog, ring.fill) == (0, 0.0)


def test_records_are_read_in_the_order_they_were_submitted(kernel, ring):
    kernel.submit(1, 2, 3)
    assert numbers(ring.read(100)) == [1, 2, 3]
    assert ring.read(100) == b""


def test_no_more_records_are_read_than_were_asked_for(kernel, ring):
    kernel.submit(1, 2, 3)
    assert numbers(ring.read(2)) == [1, 2]
    assert numbers(ring.read(2)) == [3]


def test_reading_stops_before_a_record_that_is_still_being_written(kernel, ring):
    kernel.submit(1)
    busy = kernel.reserve()
    kernel.submit(3)
    assert numbers(ring.read(100)) == [1]
    assert ring.read(100) == b""
    kernel.fill(busy, 2)
    assert numbers(ring.read(100)) == [2, 3]


def test_a_ring_that_begins_with_a_busy_record_returns_nothing_and_keeps_its_cursor(kernel, ring):
    kernel.reserve()
    kernel.submit(2)
    assert ring.read(100) == b""
    assert (ring.cursor, ring.backlog) == (0, 2)


@pytest.mark.parametrize("length", [(SLOT - 8) | DISCARDED, SLOT, SLOT - 16, 0])
def test_a_record_that_the_programs_never_write_raises_and_is_not_read(kernel, ring, length):
    kernel.submit(1)
    kernel.header(kernel.reserve(), length)
    with pytest.raises(RingBroken, match=f"at position {SLOT}"):
        ring.read(100)
    assert ring.cursor == 0


def test_an_invalid_record_after_a_busy_one_is_not_looked_at_yet(kernel, ring):
    kernel.submit(1)
    kernel.reserve()
    kernel.header(kernel.reserve(), 12)
    assert numbers(ring.read(100)) == [1]


def test_the_error_names_a_discarded_record(kernel, ring):
    kernel.header(kernel.reserve(), (SLOT - 8) | DISCARDED)
    with pytest.raises(RingBroken, match="a discarded record"):
        ring.read(100)


def test_records_before_and_after_the_end_of_the_ring_are_read_in_two_calls(kernel, ring):
    kernel.submit(*range(PLACES - 2))
    ring.read(100)
    ring.publish(ring.cursor)
    kernel.submit(100, 101, 102, 103)
    assert numbers(ring.read(100)) == [100, 101]
    assert numbers(ring.read(100)) == [102, 103]


def test_a_ring_larger_than_its_window_is_read_to_its_end_and_again_from_its_beginning(narrow):
    kernel = KernelSide(4 * PAGE)
    ring = Ring(kernel.descriptor, 4 * PAGE, SLOT)
    sent, got = iter(range(1_000_000)), []
    for _ in range(3):
        kernel.submit(*(next(sent) for _ in range(kernel.free)))
        while records := ring.read(1_000):
            got += numbers(records)
        ring.publish(ring.cursor)
    assert got == list(range(3 * 4 * PAGE // SLOT))
    ring.close()
    os.close(kernel.descriptor)


def test_publish_frees_the_space_and_read_does_not(kernel, ring):
    kernel.submit(*range(PLACES))
    ring.read(100)
    assert kernel.free == 0
    ring.publish(5 * SLOT)
    assert kernel.free == 5


def test_backlog_counts_what_was_not_read_and_fill_what_was_not_published(kernel, ring):
    kernel.submit(1, 2, 3)
    kernel.reserve()
    ring.read(2)
    assert ring.backlog == 2
    assert ring.fill == 4 / PLACES
    ring.publish(ring.cursor)
    assert ring.fill == 2 / PLACES


def test_a_position_that_was_not_read_yet_cannot_be_published(kernel, ring):
    kernel.submit(1, 2)
    ring.read(1)
    with pytest.raises(ValueError, match="is not between 0 and 256"):
        ring.publish(2 * SLOT)
    assert kernel.consumer[0] == 0


def test_a_position_before_the_published_one_cannot_be_published(kernel, ring):
    kernel.submit(1, 2)
    ring.read(2)
    ring.publish(2 * SLOT)
    with pytest.raises(ValueError, match="is not between"):
        ring.publish(SLOT)
    assert kernel.consumer[0] == 2 * SLOT


def test_a_new_reader_continues_at_the_published_position(kernel, ring):
    kernel.submit(1, 2, 3)
    ring.read(3)
    ring.publish(SLOT)
    second = Ring(kernel.descriptor, SIZE, SLOT)
    assert numbers(second.read(100)) == [2, 3]
    second.close()


def test_records_that_were_read_stay_unchanged_when_the_kernel_overwrites_them(kernel, ring):
    kernel.submit(*range(PLACES))
    records = ring.read(100)
    ring.publish(ring.cursor)
    kernel.submit(*range(1000, 1000 + PLACES))
    assert numbers(records) == list(range(PLACES))


def test_a_closed_ring_leaves_the_descriptor_open(kernel):
    Ring(kernel.descriptor, SIZE, SLOT).close()
    assert os.fstat(kernel.descriptor).st_size == 2 * PAGE + SIZE


@pytest.mark.parametrize("size", [SIZE, 4 * SIZE], ids=["one window", "four windows"])
@given(st.lists(st.tuples(st.integers(0, 4 * PLACES), st.integers(1, 40), st.booleans()), max_size=40))
def test_each_record_is_read_once_and_in_order_for_every_sequence_of_calls(narrow, size, calls):
    kernel = KernelSide(size)
    ring = Ring(kernel.descriptor, size, SLOT)
    sent, got = 0, []
    for many, most, publish in calls:
        for _ in range(min(many, kernel.free)):
            kernel.submit(sent)
            sent += 1
        got += numbers(ring.read(most))
        if publish:
            ring.publish(ring.cursor)
        assert ring.backlog == sent - len(got)
    while records := ring.read(100):
        got += numbers(records)
    assert got == list(range(sent))
    ring.close()
    os.close(kernel.descriptor)


def test_another_process_never_sees_the_consumer_position_decrease(kernel, ring):
    """Not even during a write: while it is 0, every reserve in the kernel fails."""
    command = [sys.executable, "-c", WATCHER, str(kernel.descriptor), str(2 * PAGE + SIZE)]
    with subprocess.Popen(command, pass_fds=[kernel.descriptor], stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout.readline() == "ready\n"
        for _ in range(100_000):
            kernel.header(kernel.producer[0], SLOT - 8)
            kernel.producer[0] += SLOT
            ring.read(1)
            ring.publish(ring.cursor)
        memoryview(mmap.mmap(kernel.descriptor, 2 * PAGE + SIZE))[-8:].cast("Q")[0] = 1
        assert watcher.communicate(timeout=30)[0] == "0\n"


def test_a_position_inside_a_record_cannot_be_published(kernel, ring):
    kernel.submit(1)
    ring.read(1)
    with pytest.raises(ValueError, match="position"):
        ring.publish(100)
