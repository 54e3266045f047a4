"""One probe's forks on their way, with an agent that may die between any two steps: each comes out exactly once."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.attribution.tracked_cgroups import TrackedCgroups
from agent.kernel.meta import Meta
from agent.kernel.programs import Snapshot
from agent.kernel.records import FORK_SLOT, CgroupCounters
from agent.model import Attribution
from agent.program_instance import ProgramInstance
from agent.reporting.storms import Storms
from agent.reporting.summaries import Interval, Summaries
from agent.state_records import waiting_table
from tests.agent.conftest import Records
from tests.agent.fakes import FakeAttributions, an_enricher

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
CGROUPS = (1, 2, 3)
SECOND = 10**9


class Ring:
    """What agent.kernel.ring does, over a list. What is published is overwritten."""

    def __init__(self):
        self.records = []
        self.consumed = self.cursor = 0

    def read(self, most):
        taken = self.records[self.cursor // FORK_SLOT :][:most]
        assert None not in taken, "the kernel has had this room back"
        self.cursor += len(taken) * FORK_SLOT
        return b"".join(taken)

    def publish(self, position):
        assert self.consumed <= position <= self.cursor
        self.records[: position // FORK_SLOT] = [None] * (position // FORK_SLOT)
        self.consumed = position

    @property
    def backlog(self):
        return len(self.records) - self.cursor // FORK_SLOT


class LoadedPrograms:
    """It outlives the agents: the ring, and the tally."""

    stream = STREAM
    cgroup_events_cursor = 0
    meta = Meta(1, FORK_SLOT, "0" * 16, STREAM[-16:], STREAM[:36], 1 << 20, 0, 0)

    def __init__(self):
        self.forks = Ring()
        self.counts = Counter()
        self.raged = {}
        self.made_beyond = 0  # tasks that /proc/stat has and no hook was called for, or not yet

    def fork(self, cgroup):
        self.forks.records.append(Records().fork(len(self.forks.records), cgroup))
        self.counts[cgroup] += 1

    def snapshot(self):
        rows = {cgroup: CgroupCounters(count, 0, count, 0, 0, 0, 0) for cgroup, count in self.counts.items()}
        return Snapshot(rows, (), 0, (sum(self.counts.values()) + self.made_beyond,) * 2)

    def reopened(self):
        self.forks.cursor = self.forks.consumed

    def resume(self, forks, _changes):
        if self.forks.consumed < forks:
            self.forks.cursor = forks
            self.forks.publish(forks)

    def publish_cgroup_events(self, position):
        pass

    def forget(self, cgroup):
        self.counts.pop(cgroup)
        self.untrack(cgroup)

    def untrack(self, cgroup):
        self.raged.pop(cgroup, None)

    def storms(self):
        return self.raged


class Journal:
    """Staged, and then, all at once, committed: agent.journal does that with a file."""

    def __init__(self):
        self.state_tables, self.staged, self.batches, self.open = {}, [], [], []

    def table(self, name):
        return self.state_tables.get(name, {})

    def put(self, table, key, value):
        self.staged.append((table, key, value))

    def commit(self):
        for table, key, value in self.staged:
            items = self.state_tables.setdefault(table, {})
            items.pop(key, None)
            if value is not None:
                items[key] = value
        self.batches += self.open
        self.staged, self.open = [], []

    def crash(self):
        self.staged, self.open = [], []


class Node:
    """A probe, a journal, and one agent after another. `known`: the cgroups whose names are known by now."""

    def __init__(self):
        self.programs, self.journal = LoadedPrograms(), Journal()
        self.known, self.now = set(), 0
        self.totals = []
        self.begin()

    def begin(self):
        def attribution(cgroup):
            return Attribution(cgroup, "/", "resolved", "status")

        def find(cgroup):
            return attribution(cgroup) if cgroup in self.known else None

        enricher = an_enricher(FakeAttributions(attribution, find))
        summaries = Summaries(STREAM, attribution, lambda one: {"cgroup": {"id": one.cgroup}, "k8s": {}})
        storms = Storms(STREAM, 0, attribution, lambda _one: {})
        self.epoch = ProgramInstance(self.programs, enricher, summaries, storms, lambda _programs: None, "t0")
        assert self.epoch.restore(self.journal) == 0

    def step(self, what):
        if what in CGROUPS:
            self.programs.fork(what)
        elif what == "turn":
            self.now += 10**9
            self.journal.open += [("fork", fork.sequence) for fork in self.epoch.turn(self.now)]
        elif what == "summarise":
            for event in self.epoch.summarise(self.programs.snapshot(), Interval("t0", "t1")):
                self.journal.open.append((event["id"], event["counts"]["processes"]))
            self.epoch.stage_reported(self.journal)
        elif what == "commit":
            self.commit(crash_after=3)
        elif what == "name":
            self.known.add(len(self.known) + 1)
        else:  # a crash in the midst of a commit: before it, after it, or when the kernel has been told
            self.commit(crash_after=what[1])
            self.journal.crash()
            self.programs.reopened()
            self.begin()

    def commit(self, crash_after):
        for done, act in enumerate((self.keep, self.journal.commit, self.publish)):
            if done < crash_after:
                act()

    def keep(self):
        self.epoch.stage(self.journal)
        self.reached = self.epoch.reached

    def publish(self):
        self.epoch.publish(self.reached)


steps = st.sampled_from([*CGROUPS, *CGROUPS, "turn", "turn", "commit", "summarise", "name"])
crashes = st.tuples(st.just("crash"), st.integers(0, 3))


@given(st.lists(steps | crashes, max_size=60))
@settings(max_examples=1000, deadline=None)
def test_whatever_dies_and_when_each_fork_is_handed_over_once_and_each_count_told_once(life):
    node = Node()
    for what in life:
        node.step(what)
    node.known.update(CGROUPS)
    for what in ("turn", "turn", "turn", "summarise", "commit"):
        node.step(what)
    made = sum(node.programs.counts.values())
    assert sorted(number for kind, number in node.journal.batches if kind == "fork") == list(range(made))
    told = [(name, count) for name, count in node.journal.batches if name != "fork"]
    assert len(dict(told)) == len(told), "two summaries with one id: a collector would drop one of them"
    assert sum(count for _, count in told) == made
    assert node.epoch.received == made
    assert node.epoch.drained
    assert not node.journal.state_tables.get(waiting_table(STREAM))


def test_a_name_that_is_let_go_before_its_last_counts_were_told_takes_none_of_them_along():
    """A container that makes cgroups by the thousand: the oldest names go early."""
    node = Node()
    node.programs.fork(9)
    node.epoch.let_go(9)
    assert node.epoch.captured(node.programs.snapshot()).captured == 1


def test_a_storm_of_a_pod_that_is_long_gone_is_not_told_again():
    node = Node()
    node.programs.raged = {9: (SECOND, SECOND)}
    tracked_cgroups = TrackedCgroups()

    def look(now):
        return [
            event["phase"] for event in node.epoch.look_for_storms(node.programs.snapshot(), now * SECOND, "t", tracked_cgroups)
        ]

    assert look(2) == ["start"]
    assert look(60) == ["stop"]
    node.epoch.let_go(9)
    assert [look(700), look(701)] == [[], []]


def unseen(node):
    node.step("summarise")
    return node.epoch.captured(node.programs.snapshot()).unseen


def test_a_task_that_is_missing_an_interval_later_is_unseen_and_one_that_was_on_its_way_to_its_hook_is_not():
    node = Node()
    node.programs.fork(1)
    node.programs.made_beyond = 5
    assert unseen(node) == 0
    node.programs.made_beyond = 3  # two came to their hooks
    node.programs.fork(1)
    node.programs.fork(1)
    assert unseen(node) == 3
    assert unseen(node) == 3


def test_the_next_agent_goes_on_with_what_was_unseen():
    node = Node()
    node.programs.made_beyond = 3
    assert [unseen(node), unseen(node)] == [0, 3]
    node.step("commit")
    node.begin()
    assert node.epoch.captured(node.programs.snapshot()).unseen == 3
    assert unseen(node) == 3
