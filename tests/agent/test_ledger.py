"""Each fork is in exactly one place, for every sink, at any time: the numbers are counted apart and add up."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.ledger import COUNTS, Account, Captured, Queued, imbalance, totals

cgroups, few = st.integers(1, 3), st.integers(1, 20)


def captured(**counts):
    return Captured(**{**dict.fromkeys(COUNTS, 0), **counts})


def test_a_ledger_of_nothing_is_closed():
    assert imbalance(captured(), Account(), Queued(0, 0, 0)) == 0


def test_a_fork_that_is_nowhere_and_one_that_is_in_two_places_are_found():
    account = Account()
    assert imbalance(captured(processes=1), account, Queued(0, 0, 0)) == 1
    account.deliver({7: 1})
    assert imbalance(captured(processes=1), account, Queued(0, 0, 0)) == 0
    assert imbalance(captured(processes=1), account, Queued(1, 0, 0)) == -1


def test_attached_tasks_and_misses_are_counted_apart():
    assert imbalance(captured(processes=1, lost=1, entered=5, misses=9, kernel_workers=4), Account(), Queued(0, 0, 0)) == 0


def test_losses_are_counted_by_reason_and_by_cgroup():
    account = Account()
    account.lose("rejected", {7: 2})
    account.lose("rejected", {7: 1, 8: 1})
    account.lose("journal_full", {7: 5})
    assert account.lost_by_reason() == {"rejected": 4, "journal_full": 5}
    assert account.lost["rejected"] == {7: 3, 8: 1}


def test_totals_are_sums_by_name():
    assert totals([]) == dict.fromkeys(COUNTS, 0)
    assert totals([(1, 2, 3, 4, 5, 6, 7), (10, 20, 30, 40, 50, 60, 70)]) == dict(zip(COUNTS, range(11, 78, 11), strict=True))


class WayOfForks(RuleBasedStateMachine):
    """A model of the way: forks are made, and move on until they are delivered or lost."""

    def __init__(self):
        super().__init__()
        self.counts, self.account = dict.fromkeys(COUNTS, 0), Account()
        self.ring, self.waiting, self.journal = Counter(), Counter(), Counter()
        self.made, self.delivered = 0, 0

    @rule(number=few, kind=st.sampled_from(["processes", "threads"]))
    def filtered(self, number, kind):
        self._made(number, kind, "filtered")

    @rule(number=few, kind=st.sampled_from(["processes", "threads"]), why=st.sampled_from(["lost", "suppressed"]))
    def without_event(self, number, kind, why):
        self._made(number, kind, why)

    @rule(number=few, cgroup=cgroups, kind=st.sampled_from(["processes", "threads"]))
    def emitted(self, number, cgroup, kind):
        self._made(number, kind, "emitted")
        self.ring[cgroup] += number

    @rule(cgroup=cgroups, wait=st.booleans())
    def drained(self, cgroup, wait):
        (self.waiting if wait else self.journal)[cgroup] += self.ring.pop(cgroup, 0)

    @rule(cgroup=cgroups)
    def resolved(self, cgroup):
        self.journal[cgroup] += self.waiting.pop(cgroup, 0)

    @rule(cgroup=cgroups, refused=few)
    def accepted(self, cgroup, refused):
        number = self.journal.pop(cgroup, 0)
        refused = min(refused, number)
        self.account.deliver({cgroup: number - refused})
        if refused:
            self.account.lose("rejected", {cgroup: refused})
        self.delivered += number - refused

    @rule(cgroup=cgroups)
    def full(self, cgroup):
        self.account.lose("journal_full", {cgroup: self.journal.pop(cgroup, 0)})

    def _made(self, number, kind, what):
        self.made += number
        self.counts[kind] += number
        self.counts[what] += number

    @invariant()
    def it_adds_up(self):
        queued = Queued(self.ring.total(), self.waiting.total(), self.journal.total())
        now = Captured(**self.counts)
        assert imbalance(now, self.account, queued) == 0
        assert now.captured == self.made
        assert self.account.delivered.total() == self.delivered
        assert imbalance(now, self.account, Queued(queued.ring + 1, queued.waiting, queued.journal)) == -1


TestWayOfForks = WayOfForks.TestCase
TestWayOfForks.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
