"""The forks of one program instance, with an agent that may be killed between any two steps: each comes out once."""

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.attribution.tracked_cgroups import TrackedCgroups
from agent.attribution.uniqueness import UniquenessBudget
from agent.model import Attribution
from agent.program_instance import ProgramInstance
from agent.reporting.storms import Storms
from agent.reporting.summaries import Interval, Summaries
from agent.state_records import waiting_table
from tests.agent.fakes import FakeAttributions, FakeCgroups, FakePrograms, FakeTracker, an_enricher

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
CGROUPS = (1, 2, 3)
SECOND = 10**9


def attribution(cgroup):
    return Attribution(cgroup, "/", "resolved", "status")


def fields(one):
    return {"cgroup": {"id": one.cgroup}, "k8s": {}}


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
    """BPF programs, a journal, and one agent after another. `known`: the cgroups whose pods are known by now."""

    def __init__(self):
        self.programs, self.journal = FakePrograms(STREAM), Journal()
        self.known, self.now = set(), 0
        self.begin()

    def begin(self):
        def find(cgroup):
            return attribution(cgroup) if cgroup in self.known else None

        attributions = FakeAttributions(attribution, find)
        summaries, storms = Summaries(STREAM, attributions, fields), Storms(STREAM, {"limit": 0}, attributions, fields)
        enricher = an_enricher(attributions)
        parts = (enricher, summaries, storms, FakeCgroups(), FakeTracker(), "t0", UniquenessBudget(0))
        self.instance = ProgramInstance(self.programs, *parts)
        assert self.instance.restore(self.journal) == 0

    def step(self, what):
        if what in CGROUPS:
            self.programs.fork(what)
        elif what == "turn":
            self.now += SECOND
            self.journal.open += [("fork", fork.sequence) for fork in self.instance.turn(self.now)]
        elif what == "summarize":
            for event in self.instance.summarize(self.programs.snapshot(), Interval("t0", "t1")):
                self.journal.open.append((event["id"], event["counts"]["processes"]))
            self.instance.stage_reported(self.journal)
        elif what == "commit":
            self.commit(crash_after=3)
        elif what == "name":
            self.known.add(len(self.known) + 1)
        else:  # killed in the midst of a commit: before it, after it, or when it was published
            _, crash_after = what
            self.commit(crash_after)
            self.journal.crash()
            self.programs.reopen()
            self.begin()

    def commit(self, crash_after):
        for done, act in enumerate((self.stage, self.journal.commit, self.publish)):
            if done < crash_after:
                act()

    def stage(self):
        self.instance.stage(self.journal)
        self.reached = self.instance.reached

    def publish(self):
        self.instance.publish(self.reached)

    def unseen(self):
        self.step("summarize")
        return self.instance.captured(self.programs.snapshot()).unseen


LIVES = int(os.environ.get("LIVES", "300"))

steps = st.sampled_from([*CGROUPS, *CGROUPS, "turn", "turn", "commit", "summarize", "name"])
crashes = st.tuples(st.just("crash"), st.integers(0, 3))


@given(st.lists(steps | crashes, max_size=60))
@settings(max_examples=LIVES, deadline=None)
def test_whenever_agents_are_killed_each_fork_comes_out_once_and_each_count_is_reported_once(life):
    node = Node()
    for what in life:
        node.step(what)
    node.known.update(CGROUPS)
    for what in ("turn", "turn", "turn", "summarize", "commit"):
        node.step(what)
    made = sum(node.programs.counts.values())
    assert sorted(number for kind, number in node.journal.batches if kind == "fork") == list(range(made))
    reported = [(name, count) for name, count in node.journal.batches if name != "fork"]
    assert len(dict(reported)) == len(reported), "two summaries with one id: a collector would drop one of them"
    assert sum(count for _, count in reported) == made
    assert node.instance.received == made
    assert node.instance.drained
    assert not node.journal.state_tables.get(waiting_table(STREAM))


def test_counts_stay_when_a_cgroup_is_forgotten_before_they_were_reported():
    """A container that makes cgroups by the thousand: the oldest names are forgotten early."""
    node = Node()
    node.programs.fork(9)
    node.instance.forget_cgroup(9)
    assert node.instance.captured(node.programs.snapshot()).captured == 1


def test_a_storm_of_a_pod_that_was_forgotten_is_not_reported_again():
    node = Node()
    node.programs.pod_storms = {9: (SECOND, SECOND, "limit")}
    tracked_cgroups = TrackedCgroups()

    def check(now):
        snapshot = node.programs.snapshot()
        return [event["phase"] for event in node.instance.check_storms(snapshot, now * SECOND, "t", tracked_cgroups)]

    assert check(2) == ["start"]
    assert check(60) == ["stop"]
    node.instance.forget_cgroup(9)
    assert [check(700), check(701)] == [[], []]


def test_a_task_that_is_missing_an_interval_later_is_unseen_and_one_that_was_on_its_way_to_its_tracepoint_is_not():
    node = Node()
    node.programs.fork(1)
    node.programs.made_beyond = 5
    assert node.unseen() == 0
    node.programs.made_beyond = 3  # two came to their tracepoints
    node.programs.fork(1)
    node.programs.fork(1)
    assert node.unseen() == 3
    assert node.unseen() == 3


def test_the_next_agent_goes_on_with_what_was_unseen():
    node = Node()
    node.programs.made_beyond = 3
    assert [node.unseen(), node.unseen()] == [0, 3]
    node.step("commit")
    node.begin()
    assert node.instance.captured(node.programs.snapshot()).unseen == 3
    assert node.unseen() == 3
