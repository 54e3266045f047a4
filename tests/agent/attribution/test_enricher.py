"""Forks of unknown containers wait, bounded in time and number, and do not delay any other."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Attribution, Container, Pod
from tests.agent.fakes import FakeAttachedTasks, an_enricher

HOST, APP, OTHER = 1, 7, 8  # cgroups
WAIT, MS = 5_000, 1_000_000


class FakeAttributions:
    """Knows what a test has resolved. As in Attributions, `find` returns a final answer from then on."""

    def __init__(self):
        self.known = {HOST: Attribution(HOST, "/init.scope", "host", None)}
        self.final = []
        self.folded_away = set()

    def resolve(self, cgroup):
        pod = Pod("uid", "shop", "cart", frozenset(["uid"]), {}, None, None, None)
        self.known[cgroup] = Attribution(cgroup, "/p", "resolved", "status", "uid", pod, Container("7b", "app"))

    def find(self, cgroup):
        return self.known.get(cgroup)

    def is_known(self, cgroup):
        return cgroup not in self.folded_away

    def folded(self, cgroup, owner):
        return replace(owner, cgroup=cgroup, path=None)

    def resolve_now(self, cgroup):
        return self.find(cgroup) or Attribution(cgroup, "/p", "unresolved", "cgroup", "uid")

    def resolve_final(self, cgroup):
        if cgroup not in self.known:
            self.final.append(cgroup)
            self.known[cgroup] = self.resolve_now(cgroup)
        return self.known[cgroup]


@pytest.fixture
def attributions():
    return FakeAttributions()


@pytest.fixture
def moves():
    return {}


@pytest.fixture
def enricher(attributions, moves):
    return an_enricher(attributions, FakeAttachedTasks(moves), wait_ns=WAIT * MS, most=100)


def one(enricher, raw):
    (fork,) = enricher.enrich(raw, 0)
    return fork


def sequences(forks):
    return [fork.sequence for fork in forks]


def test_a_fork_of_an_unknown_container_waits_and_delays_no_other(enricher, records):
    ready = enricher.enrich(records.fork(1, APP) + records.fork(2) + records.fork(3, APP) + records.fork(4), 0)
    assert sequences(ready) == [2, 4]
    assert enricher.waiting == 2
    assert enricher.resolve_waiting(1) == []


def test_once_the_container_is_known_waiting_forks_come_first_with_their_lag(enricher, attributions, records):
    enricher.enrich(records.fork(1, APP), 0)
    enricher.enrich(records.fork(2, APP), 300 * MS)
    attributions.resolve(APP)
    assert enricher.enrich(records.fork(3, APP), 900 * MS) == []
    resolved = enricher.resolve_waiting(1000 * MS)
    assert [(fork.sequence, fork.lag_ms) for fork in resolved] == [(1, 1000), (2, 700), (3, 100)]
    assert enricher.waiting == 0
    (at_once,) = enricher.enrich(records.fork(4, APP), 1100 * MS)
    assert (at_once.lag_ms, at_once.attribution.state) == (None, "resolved")


def test_after_the_longest_wait_a_fork_is_attributed_by_its_path(enricher, attributions, records):
    enricher.enrich(records.fork(1, APP), 0)
    enricher.enrich(records.fork(2, APP), 1 * MS)
    assert enricher.resolve_waiting((WAIT - 1) * MS) == []
    (first,) = enricher.resolve_waiting(WAIT * MS)
    assert (first.sequence, first.attribution.state, first.lag_ms) == (1, "unresolved", WAIT)
    assert attributions.final == [APP]


def test_a_fork_in_a_cgroup_that_is_not_known_itself_is_its_containers_with_its_own_id_and_no_path(
    enricher, attributions, records
):
    attributions.folded_away = {99}
    attributions.resolve(APP)
    found = one(enricher, records.fork(1, 99, counted=APP)).attribution
    assert (found.cgroup, found.path, found.state, found.container.name) == (99, None, "resolved", "app")


def test_such_a_fork_waits_for_its_container(enricher, attributions, records):
    attributions.folded_away = {99}
    assert enricher.enrich(records.fork(1, 99, counted=APP), 0) == []
    attributions.resolve(APP)
    (waited,) = enricher.resolve_waiting(10 * MS)
    assert (waited.attribution.cgroup, waited.attribution.path, waited.attribution.state) == (99, None, "resolved")


def test_a_fork_in_a_container_of_which_the_creation_was_lost_waits_for_the_next_walk(enricher, attributions, records):
    attributions.folded_away = {99}
    assert enricher.enrich(records.fork(1, 99), 0) == []


def test_the_final_attribution_is_resolved_once_for_all_forks(enricher, attributions, records):
    enricher.enrich(records.fork(1, APP) + records.fork(2, APP) + records.fork(3, APP), 0)
    assert sequences(enricher.resolve_waiting(WAIT * MS)) == [1, 2, 3]
    assert attributions.final == [APP]


def test_each_container_has_its_own_end_of_waiting(enricher, records):
    enricher.enrich(records.fork(1, APP), 0)
    enricher.enrich(records.fork(2, OTHER), 100 * MS)
    assert sequences(enricher.resolve_waiting(WAIT * MS)) == [1]
    assert enricher.waiting == 1


def test_the_number_of_waiting_forks_is_bounded_and_the_oldest_is_released_first(attributions, records):
    enricher = an_enricher(attributions, wait_ns=WAIT * MS, most=2)
    ready = enricher.enrich(b"".join(records.fork(number, APP) for number in range(5)), 0)
    assert sequences(ready) == [0, 1, 2]
    assert enricher.waiting == 2
    assert sequences(enricher.resolve_waiting(1)) == [3, 4]


def test_at_shutdown_all_waiting_forks_are_released(enricher, records):
    enricher.enrich(records.fork(1, APP) + records.fork(2, OTHER) + records.fork(3, APP), 0)
    assert sorted(sequences(enricher.resolve_all_waiting(10 * MS))) == [1, 2, 3]
    assert enricher.waiting == 0


@given(
    st.lists(st.tuples(st.sampled_from(["fork", "fork", "fork", "resolve", "resolve_waiting"]), st.integers(1, 4)), max_size=60)
)
def test_each_fork_comes_once_and_in_the_order_of_its_cgroup(records, steps):
    attributions = FakeAttributions()
    enricher, sent, got = an_enricher(attributions, wait_ns=WAIT * MS, most=5), [], []
    for now, (what, cgroup) in enumerate(steps):
        if what == "fork":
            sent.append((cgroup, now))
            got += enricher.enrich(records.fork(now, cgroup), now * 1000 * MS)
        elif what == "resolve":
            attributions.resolve(cgroup)
        got += enricher.resolve_waiting(now * 1000 * MS) if what == "resolve_waiting" else []
        assert enricher.waiting == len(sent) - len(got) <= 5
    got += enricher.resolve_all_waiting(10**15)
    for cgroup in range(1, 5):
        assert [fork.sequence for fork in got if fork.attribution.cgroup == cgroup] == [at for one, at in sent if one == cgroup]


def test_a_fork_into_another_cgroup_has_the_parents_attribution_too(enricher, attributions, records):
    attributions.resolve(APP)
    fork = one(enricher, records.fork(1, APP, parent_cgroup=HOST))
    assert (fork.attribution.cgroup, fork.parent_attribution.cgroup) == (APP, HOST)


def test_a_fork_does_not_wait_for_its_parents_attribution(enricher, attributions, records):
    attributions.resolve(APP)
    assert one(enricher, records.fork(1, APP, parent_cgroup=OTHER)).parent_attribution.state == "unresolved"


def test_an_attached_task_has_the_containers_attribution_and_is_counted_in_its_first_cgroup(
    enricher, attributions, moves, records
):
    attributions.resolve(APP)
    moves[50, 90] = APP
    fork = one(enricher, records.fork(1, HOST))
    assert (fork.attribution.cgroup, fork.attribution.by, fork.attribution.pod.name, fork.counted) == (
        APP,
        "attach",
        "cart",
        HOST,
    )


def test_an_attached_task_waits_for_its_container_and_is_attributed_by_attach(enricher, attributions, moves, records):
    moves[50, 90] = APP
    assert enricher.enrich(records.fork(1, HOST), 0) == []
    attributions.resolve(APP)
    (fork,) = enricher.resolve_waiting(20 * MS)
    assert (fork.attribution.cgroup, fork.attribution.by, fork.lag_ms, fork.counted) == (APP, "attach", 20, HOST)
