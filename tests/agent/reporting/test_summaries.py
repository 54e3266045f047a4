"""Summaries and gaps: the counts of the intervals add up to the totals, whatever cgroups come, go or lose forks."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ledger import COUNTS
from agent.model import Attribution
from agent.reporting.summaries import Interval, Summaries
from agent.state_records import SummariesRecord
from tests.agent.attribution.test_attributions import a_pod
from tests.agent.fakes import FakeAttributions

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
INTERVAL = Interval("2026-11-22T19:48:30.000000000Z", "2026-11-22T19:48:40.000000000Z")
HOSTS, CONTAINERS = (1, 2, 3), (11, 12, 13)


def attribution_of(cgroup):
    if cgroup in HOSTS:
        return Attribution(cgroup, "/host", "host", None)
    if cgroup in CONTAINERS:
        return Attribution(cgroup, f"/pod/{cgroup}", "resolved", "status", f"uid-{cgroup}")
    return Attribution(cgroup, None, "unresolved", None)


def fields(attribution):
    return {
        "cgroup": {"id": attribution.cgroup, "path": attribution.path},
        "container": None,
        "k8s": {"pod_uid": attribution.pod_uid},
    }


def counters(processes=0, threads=0, lost=0, entered=0):
    return (processes, threads, processes + threads - lost, 0, 0, lost, entered)


def named(names):
    return FakeAttributions(lambda cgroup: Attribution(cgroup, None, names.get(cgroup, "unresolved"), None))


@pytest.fixture
def summaries():
    return Summaries(STREAM, FakeAttributions(attribution_of), fields)


def of(events, kind="fork_summary"):
    """The events of a kind by their cgroup; None is the host."""
    return {event["cgroup"] and event["cgroup"]["id"]: event for event in events if event["event"] == kind}


def counts(event):
    return tuple(event["counts"].values())


def totals(event):
    return tuple(event["totals"].values())


def test_each_container_has_its_own_summary_and_the_host_has_one(summaries):
    reported = of(summaries.summarize({1: counters(3), 2: counters(4), 11: counters(5)}, INTERVAL))
    assert {cgroup: event["counts"]["processes"] for cgroup, event in reported.items()} == {None: 7, 11: 5}
    assert reported[11]["enrichment"] == {"state": "resolved", "by": "status", "lag_ms": 0}
    assert reported[11]["k8s"] == {"pod_uid": "uid-11"}
    assert reported[None]["enrichment"]["state"] == "host"


def test_counts_are_of_the_interval_and_totals_of_the_stream(summaries):
    summaries.summarize({11: counters(5, 1)}, INTERVAL)
    reported = of(summaries.summarize({11: counters(7, 4)}, INTERVAL))[11]
    assert (counts(reported), totals(reported)) == (counters(2, 3), counters(7, 4))
    assert tuple(reported["counts"]) == COUNTS


def test_an_idle_interval_has_a_summary_of_zeros(summaries):
    summaries.summarize({11: counters(5)}, INTERVAL)
    assert counts(of(summaries.summarize({11: counters(5)}, INTERVAL))[11]) == counters()


def test_a_summary_has_its_interval(summaries):
    event = of(summaries.summarize({11: counters(1)}, INTERVAL))[11]
    assert event["interval"] == {"start": INTERVAL.start, "end": INTERVAL.end}
    assert event["timestamp"] == INTERVAL.end


def test_all_ids_differ(summaries):
    by_cgroup = {1: counters(1, lost=1), 11: counters(3, lost=2), 0: counters(1, lost=1)}
    ids = []
    for _ in range(3):
        by_cgroup = {cgroup: tuple(2 * count for count in row) for cgroup, row in by_cgroup.items()}
        ids += [event["id"] for event in summaries.summarize(by_cgroup, INTERVAL)]
        ids += [event["id"] for event in summaries.sink_gaps("siem", {"rejected": {11: len(ids)}}, INTERVAL)]
        ids.append(summaries.node_summary(by_cgroup, INTERVAL, {}, 0, {}, {})["id"])
    assert len(set(ids)) == len(ids)
    assert all(one.startswith(f"{STREAM}.") for one in ids)


def test_a_loss_is_reported_once_as_a_gap_with_its_exact_count(summaries):
    gap = of(summaries.summarize({11: counters(10, lost=4), 12: counters(3)}, INTERVAL), "gap")
    assert {cgroup: (event["count"], event["reason"], event["sink"]) for cgroup, event in gap.items()} == {
        11: (4, "ring_full", None)
    }
    assert gap[11]["missing"] == "sched_process_fork"
    assert of(summaries.summarize({11: counters(12, lost=4), 12: counters(3)}, INTERVAL), "gap") == {}
    assert of(summaries.summarize({11: counters(15, lost=5), 12: counters(3)}, INTERVAL), "gap")[11]["count"] == 1


def test_what_a_sink_lost_is_reported_once_for_that_sink_and_cgroup(summaries):
    lost = {"journal_full": Counter({11: 5, 1: 2}), "rejected": Counter({11: 1})}
    reported = summaries.sink_gaps("siem", lost, INTERVAL)
    assert sorted((gap["reason"], gap["cgroup"]["id"], gap["count"]) for gap in reported) == [
        ("journal_full", 1, 2),
        ("journal_full", 11, 5),
        ("rejected", 11, 1),
    ]
    assert {gap["sink"] for gap in reported} == {"siem"}
    assert summaries.sink_gaps("siem", lost, INTERVAL) == []
    lost["journal_full"][11] += 3
    (gap,) = summaries.sink_gaps("siem", lost, INTERVAL)
    assert gap["count"] == 3
    assert len(summaries.sink_gaps("lake", lost, INTERVAL)) == 3


def test_the_counters_for_a_full_table_are_reported_when_they_have_counted(summaries):
    assert 0 not in of(summaries.summarize({0: counters()}, INTERVAL))
    reported = of(summaries.summarize({0: counters(3)}, INTERVAL))[0]
    assert (counts(reported), reported["enrichment"]["state"]) == (counters(3), "unresolved")


def test_a_removed_cgroup_of_the_host_stays_in_the_totals_of_the_host(summaries):
    by_cgroup = {1: counters(5), 2: counters(6)}
    summaries.summarize(by_cgroup, INTERVAL)
    summaries.retire(1, by_cgroup.pop(1))
    summaries.finish_retiring(1)
    reported = of(summaries.summarize({2: counters(7)}, INTERVAL))[None]
    assert (totals(reported), counts(reported)) == (counters(12), counters(1))


def test_the_last_counters_of_a_removed_container_are_kept_as_long_as_its_name(summaries):
    summaries.summarize({11: counters(5)}, INTERVAL)
    summaries.retire(11, counters(5))
    summaries.finish_retiring(11)
    assert summaries.retired == {11: counters(5)}
    assert 11 not in of(summaries.summarize({}, INTERVAL))
    assert summaries.total({}) == counters(5)


def test_a_cgroup_id_that_is_used_again_begins_at_zero(summaries):
    summaries.summarize({11: counters(5)}, INTERVAL)
    summaries.retire(11, counters(5))
    summaries.finish_retiring(11)
    assert counts(of(summaries.summarize({11: counters(2)}, INTERVAL))[11]) == counters(2)


def test_the_node_summary_has_the_sum_of_all_and_what_it_is_given(summaries):
    event = summaries.node_summary(
        {1: counters(5), 11: counters(2, 1), 0: counters(1)}, INTERVAL, {"version": "1"}, 7, {"0": 9}, {"captured": 9}
    )
    assert (counts(event), totals(event)) == (counters(8, 1), counters(8, 1))
    assert (event["agent"], event["lag_ms"], event["heads"], event["ledger"]) == (
        {"version": "1"},
        7,
        {"0": 9},
        {"captured": 9},
    )


happenings = st.tuples(
    st.sampled_from(["fork", "fork", "fork", "summary", "remove"]), st.sampled_from(HOSTS + CONTAINERS), st.integers(0, 9)
)


@given(st.lists(happenings, max_size=60))
def test_whatever_happens_the_counts_add_up_to_what_was_forked(life):
    summaries, by_cgroup, truth, reported, nodes = (
        Summaries(STREAM, FakeAttributions(attribution_of), fields),
        {},
        Counter(),
        Counter(),
        0,
    )
    host_totals = [0]

    def summarize():
        nonlocal nodes
        for cgroup, event in of(summaries.summarize(by_cgroup, INTERVAL)).items():
            assert min(counts(event)) >= 0
            reported[cgroup] += event["counts"]["processes"]
            if cgroup is None:
                host_totals.append(event["totals"]["processes"])
        nodes += summaries.node_summary(by_cgroup, INTERVAL, {}, 0, {}, {})["counts"]["processes"]

    for what, cgroup, number in life:
        if what == "fork":
            truth[None if cgroup in HOSTS else cgroup] += number
            by_cgroup[cgroup] = counters(by_cgroup.get(cgroup, counters())[0] + number)
        elif what == "summary":
            summarize()
        elif cgroup in by_cgroup:
            summarize()
            summaries.retire(cgroup, by_cgroup.pop(cgroup))
            summaries.finish_retiring(cgroup)
    summarize()
    assert +reported == +truth
    assert nodes == truth.total()
    assert host_totals == sorted(host_totals)


def test_the_counts_of_the_host_are_never_negative_when_a_name_is_forgotten_before_its_counters():
    names = {1: "host", 2: "host"}
    summaries = Summaries(STREAM, named(names), fields)
    summaries.summarize({1: counters(5), 2: counters(6)}, INTERVAL)
    del names[1]
    reported = of(summaries.summarize({1: counters(5), 2: counters(6)}, INTERVAL))
    assert min(counts(reported[None])) >= 0


def test_a_cgroup_that_is_attributed_late_is_counted_once():
    names = {}
    summaries = Summaries(STREAM, named(names), fields)
    first = summaries.summarize({1: counters(5)}, INTERVAL)
    names[1] = "host"
    second = summaries.summarize({1: counters(5)}, INTERVAL)
    assert sum(event["counts"]["processes"] for event in first + second) == 5


def test_a_removed_cgroup_is_reported_again_when_its_pod_and_container_become_known():
    """As of a static pod that ended while the API was away."""
    known = {}

    def attribution_of(cgroup):
        state, pod = known.get(cgroup, ("unresolved", None))
        return Attribution(cgroup, None, state, None, "hash", pod)

    summaries, nothing = Summaries(STREAM, FakeAttributions(attribution_of), fields), counters()
    for cgroup in (11, 12):
        summaries.summarize({cgroup: counters(5)}, INTERVAL)
        summaries.retire(cgroup, counters(5))
    assert set(of(summaries.summarize({}, INTERVAL))) == {None}
    known[11] = ("unresolved", a_pod())
    assert counts(of(summaries.summarize({}, INTERVAL))[11]) == nothing
    assert set(of(summaries.summarize({}, INTERVAL))) == {None}
    known[11] = ("resolved", a_pod())
    reported = of(summaries.summarize({}, INTERVAL))
    assert (set(reported), totals(reported[11]), reported[11]["enrichment"]["state"]) == ({None, 11}, counters(5), "resolved")
    assert set(of(summaries.summarize({}, INTERVAL))) == {None}


def test_the_next_agent_reports_a_removed_cgroup_that_becomes_known():
    names = {}
    summaries, after = (Summaries(STREAM, named(names), fields) for _ in range(2))
    summaries.summarize({11: counters(5)}, INTERVAL)
    summaries.retire(11, counters(5))
    after.restore(SummariesRecord(*summaries.record()))
    names[11] = "resolved"
    assert totals(of(after.summarize({}, INTERVAL))[11]) == counters(5)
