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
    """The producer: what bpf_ringbuf_reserve, _submit and _discard do to the shared memory. Room is its own affair."""

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
    def room(self):
        return (self.size - (self.producer[0] - self.consumer[0])) // self.slot


def numbers(taken, slot=SLOT):
    """What the records say; every word of a record must say the same, or it was torn."""
    assert len(taken) % slot == 0
    said = []
    for at in range(0, len(taken), slot):
        words = set(memoryview(taken)[at + 8 : at + slot].cast("Q"))
        assert len(words) == 1
        said += words
    return said


@pytest.fixture(scope="module")
def narrow():
    """One page of the data is seen at a time, so that a small ring has several windows."""
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


def test_an_empty_ring_gives_nothing(ring):
    assert ring.read(100) == b""
    assert (ring.backlog, ring.fill) == (0, 0.0)


def test_records_come_in_the_order_they_were_submitted(kernel, ring):
    kernel.submit(1, 2, 3)
    assert numbers(ring.read(100)) == [1, 2, 3]
    assert ring.read(100) == b""


def test_no_more_are_taken_than_were_asked_for(kernel, ring):
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


def test_a_ring_that_begins_with_a_busy_record_gives_nothing_and_does_not_move(kernel, ring):
    kernel.reserve()
    kernel.submit(2)
    assert ring.read(100) == b""
    assert (ring.cursor, ring.backlog) == (0, 2)


@pytest.mark.parametrize("length", [(SLOT - 8) | DISCARDED, SLOT, SLOT - 16, 0])
def test_what_the_probe_never_writes_breaks_the_ring_and_is_not_taken(kernel, ring, length):
    kernel.submit(1)
    kernel.header(kernel.reserve(), length)
    with pytest.raises(RingBroken, match=f"at position {SLOT}"):
        ring.read(100)
    assert ring.cursor == 0


def test_a_busy_record_hides_what_is_odd_behind_it(kernel, ring):
    kernel.submit(1)
    kernel.reserve()
    kernel.header(kernel.reserve(), 12)
    assert numbers(ring.read(100)) == [1]


def test_a_discarded_record_is_called_so(kernel, ring):
    kernel.header(kernel.reserve(), (SLOT - 8) | DISCARDED)
    with pytest.raises(RingBroken, match="a discarded record"):
        ring.read(100)


def test_what_lies_across_the_end_comes_in_two_takes(kernel, ring):
    kernel.submit(*range(PLACES - 2))
    ring.read(100)
    ring.publish(ring.cursor)
    kernel.submit(100, 101, 102, 103)
    assert numbers(ring.read(100)) == [100, 101]
    assert numbers(ring.read(100)) == [102, 103]


def test_a_ring_that_is_wider_than_its_window_is_read_to_its_end_and_round(narrow):
    kernel = KernelSide(4 * PAGE)
    ring = Ring(kernel.descriptor, 4 * PAGE, SLOT)
    sent, got = iter(range(1_000_000)), []
    for _ in range(3):
        kernel.submit(*(next(sent) for _ in range(kernel.room)))
        while taken := ring.read(1_000):
            got += numbers(taken)
        ring.publish(ring.cursor)
    assert got == list(range(3 * 4 * PAGE // SLOT))
    ring.close()
    os.close(kernel.descriptor)


def test_the_kernel_gets_its_room_back_at_publish_and_not_before(kernel, ring):
    kernel.submit(*range(PLACES))
    ring.read(100)
    assert kernel.room == 0
    ring.publish(5 * SLOT)
    assert kernel.room == 5


def test_backlog_counts_what_is_not_taken_and_fill_what_is_not_published(kernel, ring):
    kernel.submit(1, 2, 3)
    kernel.reserve()
    ring.read(2)
    assert ring.backlog == 2
    assert ring.fill == 4 / PLACES
    ring.publish(ring.cursor)
    assert ring.fill == 2 / PLACES


def test_a_position_that_was_not_taken_yet_can_not_be_published(kernel, ring):
    kernel.submit(1, 2)
    ring.read(1)
    with pytest.raises(ValueError, match="is not between 0 and 256"):
        ring.publish(2 * SLOT)
    assert kernel.consumer[0] == 0


def test_a_position_can_not_be_published_backwards(kernel, ring):
    kernel.submit(1, 2)
    ring.read(2)
    ring.publish(2 * SLOT)
    with pytest.raises(ValueError, match="is not between"):
        ring.publish(SLOT)
    assert kernel.consumer[0] == 2 * SLOT


def test_a_new_reader_goes_on_where_the_last_one_published(kernel, ring):
    kernel.submit(1, 2, 3)
    ring.read(3)
    ring.publish(SLOT)
    heir = Ring(kernel.descriptor, SIZE, SLOT)
    assert numbers(heir.read(100)) == [2, 3]
    heir.close()


def test_what_was_taken_stays_as_it_was_when_the_kernel_writes_over_its_place(kernel, ring):
    kernel.submit(*range(PLACES))
    taken = ring.read(100)
    ring.publish(ring.cursor)
    kernel.submit(*range(1000, 1000 + PLACES))
    assert numbers(taken) == list(range(PLACES))


def test_a_closed_ring_leaves_the_descriptor_to_its_owner(kernel):
    Ring(kernel.descriptor, SIZE, SLOT).close()
    assert os.fstat(kernel.descriptor).st_size == 2 * PAGE + SIZE


@pytest.mark.parametrize("size", [SIZE, 4 * SIZE], ids=["one window", "four windows"])
@given(st.lists(st.tuples(st.integers(0, 4 * PLACES), st.integers(1, 40), st.booleans()), max_size=40))
def test_whatever_the_rhythm_each_record_comes_once_and_in_order(narrow, size, rhythm):
    kernel = KernelSide(size)
    ring = Ring(kernel.descriptor, size, SLOT)
    sent, got = 0, []
    for many, most, publish in rhythm:
        for _ in range(min(many, kernel.room)):
            kernel.submit(sent)
            sent += 1
        got += numbers(ring.read(most))
        if publish:
            ring.publish(ring.cursor)
        assert ring.backlog == sent - len(got)
    while taken := ring.read(100):
        got += numbers(taken)
    assert got == list(range(sent))
    ring.close()
    os.close(kernel.descriptor)


def test_another_process_never_sees_the_position_go_backwards(kernel, ring):
    """Not even for the moment of a write: while it reads 0, every reserve in the kernel fails."""
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


def test_a_position_in_the_middle_of_a_record_can_not_be_published(kernel, ring):
    kernel.submit(1)
    ring.read(1)
    with pytest.raises(ValueError, match="position"):
        ring.publish(100)
