"""Stand-ins for what startup passes to the parts of the agent: attributions, attached tasks, clocks; an enricher of them."""

from __future__ import annotations

from agent.attribution.enricher import Enricher
from agent.attribution.fork_decoder import ForkDecoder, RecordLayout
from agent.kernel.records import FORK, FORK_SLOT, NUMBERS, PARENT_CONTEXT

LAYOUT = RecordLayout(FORK_SLOT, FORK.iter_unpack, PARENT_CONTEXT.unpack, NUMBERS.unpack)


class FakeAttributions:
    """`resolve`: cgroup -> Attribution. `find`: the same, or None while it is not known; without it all is known."""

    def __init__(self, resolve, find=None):
        self.find = find or resolve
        self.resolve_now = self.resolve_final = resolve


class FakeAttachedTasks:
    """`moves`: (tid, start) -> the cgroup that the task was moved to."""

    def __init__(self, moves=None):
        self.moves = {} if moves is None else moves

    def cgroup_of(self, tid, start):
        return self.moves.get((tid, start))


class FakeTracker:
    """Takes every cgroup and remembers none."""

    def track(self, cgroup, counted, pod, *, is_pod):
        return True


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
