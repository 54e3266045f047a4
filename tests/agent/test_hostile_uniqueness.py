"""A container that forks with a new task, name and cgroup each time, beside a quiet one: the quiet one pays nothing for it, and
the hostile one is soon only counted. Each fork is counted."""

import pytest

from agent.attribution.tracked_cgroups import TrackedCgroups
from agent.attribution.uniqueness import UniquenessBudget
from agent.model import Attribution
from agent.program_instance import ProgramInstance
from agent.reporting.storms import Storms
from agent.reporting.summaries import Interval, Summaries
from agent.sinks.encoders.native import NativeEncoder, k8s_fields
from tests.agent.conftest import Records
from tests.agent.fakes import FakeAttributions, FakeCgroups, FakePrograms, FakeTracker, an_enricher

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
QUIET, HOSTILE, NESTED = 1, 2, 1000
SECOND = 10**9
SHELLS = 60
LIMIT = 500
RATE = 6000


class Node:
    """The forks of two containers for some seconds, turn by turn, through one program instance and one sink's encoder."""

    def __init__(self, limit=LIMIT):
        self.programs, self.sent, self.encoded, self.events = FakePrograms(STREAM), [], [], []
        known = {}

        def resolve(cgroup):
            return known.setdefault(cgroup, Attribution(cgroup, f"/{cgroup}", "resolved", "status", "uid"))

        def fields(attribution):
            return k8s_fields(attribution, "demo", "node1")

        attributions = FakeAttributions(resolve)
        storms = Storms(STREAM, {"limit": 0, "uniqueness": limit}, attributions, fields)
        summaries, budget = Summaries(STREAM, attributions, fields), UniquenessBudget(limit)
        parts = (summaries, storms, FakeCgroups(), FakeTracker(), "t0", budget)
        self.instance = ProgramInstance(self.programs, an_enricher(attributions), *parts)
        self.encoder = NativeEncoder("demo", "node1")
        self.now, self.made = 100 * SECOND, 0

    def run(self, seconds, hostile):
        for _ in range(seconds * 10):
            self.now += SECOND // 10
            for _ in range(RATE // 10):
                hostile(self)
            for number in range(SHELLS):
                parent = Records().parent_context(parent=(40 + number, 4, 40 + number, 4, 80))
                self.programs.fork(QUIET, time=self.now, parent_context=parent)
            self.turn()
            if self.now % SECOND == 0:
                self.check_storms()
        while self.programs.forks.backlog or not self.instance.drained:
            self.turn()
        self.check_storms()

    def turn(self):
        forks = self.instance.turn(self.now)
        self.sent += forks
        self.encoded += self.encoder.forks(STREAM, forks)

    def check_storms(self):
        self.events += self.instance.check_storms(self.programs.snapshot(), self.now, "t", TrackedCgroups())

    def sent_of(self, container):
        return [fork for fork in self.sent if fork.counted == container]


def new_task_and_name(node):
    node.made += 1
    name = b"c%d\0" % node.made
    parent = Records().parent_context(parent=(10**6 + node.made, 4, 10**6 + node.made, 4, 80), comm=name, uid=node.made)
    node.programs.fork(HOSTILE, time=node.now, parent_context=parent)


def new_cgroup(node):
    node.made += 1
    node.programs.fork(HOSTILE, cgroup=NESTED + node.made, time=node.now)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("hostile", [new_task_and_name, new_cgroup])
def test_a_hostile_container_takes_no_cache_from_a_quiet_one_and_is_only_counted(hostile):
    node = Node()
    node.run(3, hostile)
    quiet = node.sent_of(QUIET)
    assert len(quiet) == 30 * SHELLS
    assert len({id(fork.parent_context) for fork in quiet}) == SHELLS
    texts = {id(text) for fork in quiet for text in fork.parent_context.fragments.values()}
    assert len(texts) == SHELLS
    burst = 10 * LIMIT
    assert burst < len(node.sent_of(HOSTILE)) < burst + 3 * LIMIT + 2 * RATE // 10  # what a turn had drained was still sent
    ((over, _, _),) = node.programs.storms().values()
    assert over <= node.now


@pytest.mark.timeout(60)
def test_each_fork_is_counted_and_the_storm_says_why_of_which_container():
    node = Node()
    node.run(3, new_task_and_name)
    summaries = node.instance.summarize(node.programs.snapshot(), Interval("t0", "t1"))
    counts = {event["cgroup"]["id"]: event["counts"] for event in summaries if event["cgroup"]}
    assert counts[HOSTILE]["processes"] == 3 * RATE == counts[HOSTILE]["emitted"] + counts[HOSTILE]["suppressed"]
    assert counts[HOSTILE]["emitted"] == len(node.sent_of(HOSTILE))
    assert counts[QUIET]["suppressed"] == 0
    (start,) = node.events
    assert (start["phase"], start["reason"], start["limit"], start["hold_s"]) == ("start", "uniqueness", LIMIT, 10)
    assert start["cgroup"]["id"] == HOSTILE
    assert start["counts"]["suppressed"] > 0


@pytest.mark.timeout(60)
def test_what_gathered_while_no_agent_ran_did_not_come_at_once():
    node = Node()
    for _second in range(60):
        node.now += SECOND
        for _ in range(LIMIT):
            new_task_and_name(node)
    node.run(0, new_task_and_name)
    assert len(node.sent_of(HOSTILE)) == 60 * LIMIT
    assert node.programs.storms() == {}


@pytest.mark.timeout(60)
def test_without_a_limit_every_fork_is_sent():
    node = Node(limit=0)
    node.run(1, new_task_and_name)
    assert len(node.sent_of(HOSTILE)) == RATE
