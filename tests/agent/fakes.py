"""Stand-ins for what startup passes to the parts of the agent: attributions, clocks, BPF programs, a capture."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from agent.attribution.enricher import Enricher
from agent.attribution.fork_decoder import ForkDecoder, RecordLayout
from agent.kernel.meta import Meta
from agent.kernel.programs import Snapshot
from agent.kernel.records import FORK, FORK_SLOT, NUMBERS, PARENT_CONTEXT, CgroupCounters, StormState
from tests.agent.conftest import Records

LAYOUT = RecordLayout(FORK_SLOT, FORK.iter_unpack, PARENT_CONTEXT.unpack, NUMBERS.unpack)


class FakeAttributions:
    """`resolve`: cgroup -> Attribution. `find`: the same, or None while it is not known; without it all is known."""

    def __init__(self, resolve, find=None):
        self.find = find or resolve
        self.resolve_now = self.resolve_final = resolve

    def is_known(self, _cgroup):
        return True


class FakeAttachedTasks:
    """`moves`: (tid, start) -> the cgroup that the task was moved to."""

    def __init__(self, moves=None):
        self.moves = {} if moves is None else moves

    def cgroup_of(self, tid, start):
        return self.moves.get((tid, start))


class FakeCgroups:
    """Reads cgroup events and remembers none."""

    def apply_cgroup_events(self, events, _tracker):
        for _ in events:
            pass


class FakeTracker:
    """Takes every cgroup and remembers none."""

    def track(self, cgroup, pod, kind):
        return True

    def untrack(self, cgroup):
        pass

    def set_pod_level(self, level):
        pass


class FakeWallClock:
    """Wall time is the boot clock and `separation`, ns."""

    def __init__(self, separation=0):
        self.separation = separation

    def wall(self, boot_ns):
        return boot_ns + self.separation


def an_enricher(attributions, attached_tasks=None, *, boot_key=1, clock=None, wait_ns=5 * 10**9, most=10):
    """Without `clock`, wall time is boot time."""
    decoder = ForkDecoder(LAYOUT, boot_key, clock or FakeWallClock())
    return Enricher(decoder, attributions, attached_tasks or FakeAttachedTasks(), wait_ns=wait_ns, most=most)


class FakeClock:
    """agent.interfaces.Clock, moved by the test. `boot`: ns; wall time is boot time and one day."""

    SEPARATION_NS = 86_400 * 10**9

    def __init__(self, boot=0):
        self.boot = boot

    def boot_ns(self):
        return self.boot

    def wall_ns(self):
        return self.boot + self.SEPARATION_NS

    def monotonic_s(self):
        return self.boot / 1e9

    def separation_ns(self):
        return self.SEPARATION_NS


class FakeRing:
    """What agent.kernel.ring does, over a list. What is published is overwritten."""

    size = 1 << 20
    fill = 0.0

    def __init__(self):
        self.records = []
        self.consumed = self.cursor = 0

    def read(self, most):
        read = self.records[self.cursor // FORK_SLOT :][:most]
        assert None not in read, "the kernel may have overwritten this"
        self.cursor += len(read) * FORK_SLOT
        return b"".join(read)

    def publish(self, position):
        assert self.consumed <= position <= self.cursor
        self.records[: position // FORK_SLOT] = [None] * (position // FORK_SLOT)
        self.consumed = position

    @property
    def backlog(self):
        return len(self.records) - self.cursor // FORK_SLOT

    @property
    def end(self):
        return len(self.records) * FORK_SLOT


class FakePrograms:
    """Loaded BPF programs: they outlive the agents, with their ring and their counters. `events`: of cgroups, which each agent
    reads from the start."""

    cgroup_events_cursor = 0
    part = False

    def __init__(self, stream, events=()):
        boot_id, _, instance_id = stream.partition(".")
        self.stream = stream
        self.meta = Meta(1, FORK_SLOT, "0" * 16, instance_id, boot_id, 1 << 20, 0, 0)
        self.forks = FakeRing()
        self.counts = Counter()
        self.pod_storms = {}
        self.suppressed = Counter()
        self.made_beyond = 0  # tasks that /proc/stat has and no tracepoint was called for, or not yet
        self._events = list(events)
        self._unread = list(events)

    def fork(self, counted, **fields):
        """`fields`: of the record; `cgroup`: the child's, when another counts its forks."""
        self.counts[counted] += 1
        if counted in self.pod_storms:
            self.suppressed[counted] += 1
        else:
            fields = {"cgroup": counted, "counted": counted, **fields}
            self.forks.records.append(Records().fork(len(self.forks.records), **fields))

    def snapshot(self):
        suppressed = self.suppressed
        counters = {
            cgroup: CgroupCounters(count, 0, count - suppressed[cgroup], 0, suppressed[cgroup], 0, 0)
            for cgroup, count in self.counts.items()
        }
        return Snapshot(counters, (), 0, (sum(self.counts.values()) + self.made_beyond,) * 2)

    def reopen(self):
        """The next agent finds them as the kernel has them."""
        self.forks.cursor = self.forks.consumed
        self._unread = [*self._events]

    def resume(self, forks, _cgroup_events):
        if self.forks.consumed < forks:
            self.forks.cursor = forks
            self.forks.publish(forks)

    def cgroup_events(self):
        unread, self._unread = self._unread, []
        return unread

    def publish_cgroup_events(self, position):
        pass

    def start(self, *, threads, storm_limit, alive_ns):
        pass

    def stop(self):
        pass

    def update_meta(self, **changes):
        self.meta = replace(self.meta, **changes)

    def track(self, cgroup, pod, kind):
        return True

    def set_pod_level(self, level):
        pass

    def table_fills(self):
        return {}

    def tracked(self):
        return {}

    def delete_counters(self, cgroup):
        self.counts.pop(cgroup)
        self.untrack(cgroup)

    def untrack(self, cgroup):
        self.pod_storms.pop(cgroup, None)

    def suppress(self, container, now):
        self.pod_storms[container] = StormState(now, now, "uniqueness")

    def storms(self):
        return self.pod_storms


class FakeCapture:
    """Attached, with `current` in charge and none before it."""

    taken_over = False
    unpinned = None
    former = ()
    unreadable = ()

    def __init__(self, current=None):
        self.current = current
