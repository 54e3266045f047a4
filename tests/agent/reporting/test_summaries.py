"""What the agent says of its own: each interval's counts add up to the totals, whatever comes, goes or is lost."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ledger import COUNTS
from agent.model import Attribution
from agent.reporting.summaries import Interval, Summaries

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
INTERVAL = Interval("2026-11-22T19:48:30.000000000Z", "2026-11-22T19:48:40.000000000Z")
HOSTS, CONTAINERS = (1, 2, 3), (11, 12, 13)


def best(cgroup):
    if cgroup in HOSTS:
        return Attribution(cgroup, "/host", "host", None)
    if cgroup in CONTAINERS:
        return Attribution(cgroup, f"/pod/{cgroup}", "resolved", "status", f"uid-{cgroup}")
    return Attribution(cgroup, None, "unresolved", None)


def whose(attribution):
    return {
        "cgroup": {"id": attribution.cgroup, "path": attribution.path},
        "container": None,
        "k8s": {"pod_uid": attribution.pod_uid},
    }


def a_row(processes=0, threads=0, lost=0, entered=0):
    return (processes, threads, processes + threads - lost, 0, 0, lost, entered)


@pytest.fixture
def summaries():
    return Summaries(STREAM, best, whose)


def of(events, kind="fork_summary"):
    """The events of a kind by their cgroup; None is the host."""
    return {event["cgroup"] and event["cgroup"]["id"]: event for event in events if event["event"] == kind}


def counts(event):
    return tuple(event["counts"].values())


def totals(event):
    return tuple(event["totals"].values())


def test_a_container_has_a_summary_of_its_own_and_the_host_one_in_all(summaries):
    told = of(summaries.next({1: a_row(3), 2: a_row(4), 11: a_row(5)}, INTERVAL))
    assert {cgroup: event["counts"]["processes"] for cgroup, event in told.items()} == {None: 7, 11: 5}
    assert told[11]["enrichment"] == {"state": "resolved", "by": "status", "lag_ms": 0}
    assert told[11]["k8s"] == {"pod_uid": "uid-11"}
    assert told[None]["enrichment"]["state"] == "host"


def test_counts_are_of_the_interval_and_totals_of_the_epoch(summaries):
    summaries.next({11: a_row(5, 1)}, INTERVAL)
    told = of(summaries.next({11: a_row(7, 4)}, INTERVAL))[11]
    assert (counts(told), totals(told)) == (a_row(2, 3), a_row(7, 4))
    assert tuple(told["counts"]) == COUNTS


def test_an_idle_interval_is_told_with_zeros(summaries):
    summaries.next({11: a_row(5)}, INTERVAL)
    assert counts(of(summaries.next({11: a_row(5)}, INTERVAL))[11]) == a_row()


def test_a_summary_says_when(summaries):
    event = of(summaries.next({11: a_row(1)}, INTERVAL))[11]
    assert event["interval"] == {"start": INTERVAL.start, "end": INTERVAL.end}
    assert event["timestamp"] == INTERVAL.end


def test_no_id_comes_twice(summaries):
    rows = {1: a_row(1, lost=1), 11: a_row(3, lost=2), 0: a_row(1, lost=1)}
    ids = []
    for _ in range(3):
        rows = {cgroup: tuple(2 * count for count in row) for cgroup, row in rows.items()}
        ids += [event["id"] for event in summaries.next(rows, INTERVAL)]
        ids += [event["id"] for event in summaries.sink_gaps("siem", {"rejected": {11: len(ids)}}, INTERVAL)]
        ids.append(summaries.node(rows, INTERVAL, {}, 0, {}, {})["id"])
    assert len(set(ids)) == len(ids)
    assert all(one.startswith(f"{STREAM}.") for one in ids)


def test_a_loss_is_told_as_a_gap_of_exactly_so_many_and_once(summaries):
    gap = of(summaries.next({11: a_row(10, lost=4), 12: a_row(3)}, INTERVAL), "gap")
    assert {cgroup: (event["count"], event["reason"], event["sink"]) for cgroup, event in gap.items()} == {
        11: (4, "ring_full", None)
    }
    assert gap[11]["missing"] == "sched_process_fork"
    assert of(summaries.next({11: a_row(12, lost=4), 12: a_row(3)}, INTERVAL), "gap") == {}
    assert of(summaries.next({11: a_row(15, lost=5), 12: a_row(3)}, INTERVAL), "gap")[11]["count"] == 1


def test_what_a_sink_lost_is_told_for_that_sink_by_cgroup_and_once(summaries):
    lost = {"journal_full": Counter({11: 5, 1: 2}), "rejected": Counter({11: 1})}
    told = summaries.sink_gaps("siem", lost, INTERVAL)
    assert sorted((gap["reason"], gap["cgroup"]["id"], gap["count"]) for gap in told) == [
        ("journal_full", 1, 2),
        ("journal_full", 11, 5),
        ("rejected", 11, 1),
    ]
    assert {gap["sink"] for gap in told} == {"siem"}
    assert summaries.sink_gaps("siem", lost, INTERVAL) == []
    lost["journal_full"][11] += 3
    (gap,) = summaries.sink_gaps("siem", lost, INTERVAL)
    assert gap["count"] == 3
    assert len(summaries.sink_gaps("lake", lost, INTERVAL)) == 3


def test_the_row_for_when_the_table_is_full_is_told_when_it_has_counted(summaries):
    assert 0 not in of(summaries.next({0: a_row()}, INTERVAL))
    told = of(summaries.next({0: a_row(3)}, INTERVAL))[0]
    assert (counts(told), told["enrichment"]["state"]) == (a_row(3), "unresolved")


def test_a_hosts_cgroup_that_was_forgotten_stays_in_the_hosts_totals(summaries):
    rows = {1: a_row(5), 2: a_row(6)}
    summaries.next(rows, INTERVAL)
    summaries.forget(1, rows.pop(1))
    summaries.gone(1)
    told = of(summaries.next({2: a_row(7)}, INTERVAL))[None]
    assert (totals(told), counts(told)) == (a_row(12), a_row(1))


def test_a_forgotten_containers_last_counts_are_kept_while_its_name_is(summaries):
    summaries.next({11: a_row(5)}, INTERVAL)
    summaries.forget(11, a_row(5))
    summaries.gone(11)
    assert summaries.retired == {11: a_row(5)}
    assert 11 not in of(summaries.next({}, INTERVAL))
    assert summaries.total({}) == a_row(5)


def test_an_id_that_comes_again_begins_at_zero(summaries):
    summaries.next({11: a_row(5)}, INTERVAL)
    summaries.forget(11, a_row(5))
    summaries.gone(11)
    assert counts(of(summaries.next({11: a_row(2)}, INTERVAL))[11]) == a_row(2)


def test_the_node_tells_the_sum_of_all_and_what_it_is_handed(summaries):
    event = summaries.node(
        {1: a_row(5), 11: a_row(2, 1), 0: a_row(1)}, INTERVAL, {"version": "1"}, 7, {"0": 9}, {"captured": 9}
    )
    assert (counts(event), totals(event)) == (a_row(8, 1), a_row(8, 1))
    assert (event["agent"], event["lag_ms"], event["heads"], event["ledger"]) == (
        {"version": "1"},
        7,
        {"0": 9},
        {"captured": 9},
    )


happenings = st.tuples(
    st.sampled_from(["fork", "fork", "fork", "summary", "forget"]), st.sampled_from(HOSTS + CONTAINERS), st.integers(0, 9)
)


@given(st.lists(happenings, max_size=60))
def test_over_any_life_the_counts_add_up_to_what_truly_happened(life):
    summaries, rows, truth, told, nodes = Summaries(STREAM, best, whose), {}, Counter(), Counter(), 0
    host_totals = [0]

    def say():
        nonlocal nodes
        for cgroup, event in of(summaries.next(rows, INTERVAL)).items():
            assert min(counts(event)) >= 0
            told[cgroup] += event["counts"]["processes"]
            if cgroup is None:
                host_totals.append(event["totals"]["processes"])
        nodes += summaries.node(rows, INTERVAL, {}, 0, {}, {})["counts"]["processes"]

    for what, cgroup, number in life:
        if what == "fork":
            truth[None if cgroup in HOSTS else cgroup] += number
            rows[cgroup] = a_row(rows.get(cgroup, a_row())[0] + number)
        elif what == "summary":
            say()
        elif cgroup in rows:
            say()
            summaries.forget(cgroup, rows.pop(cgroup))
            summaries.gone(cgroup)
    say()
    assert +told == +truth
    assert nodes == truth.total()
    assert host_totals == sorted(host_totals)


def test_the_hosts_counts_are_never_negative_when_a_name_is_forgotten_before_its_row():
    names = {1: "host", 2: "host"}
    summaries = Summaries(STREAM, lambda cgroup: Attribution(cgroup, None, names.get(cgroup, "unresolved"), None), whose)
    summaries.next({1: a_row(5), 2: a_row(6)}, INTERVAL)
    del names[1]
    told = of(summaries.next({1: a_row(5), 2: a_row(6)}, INTERVAL))
    assert min(counts(told[None])) >= 0


def test_a_cgroup_whose_name_comes_late_is_counted_once():
    names = {}
    summaries = Summaries(STREAM, lambda cgroup: Attribution(cgroup, None, names.get(cgroup, "unresolved"), None), whose)
    first = summaries.next({1: a_row(5)}, INTERVAL)
    names[1] = "host"
    second = summaries.next({1: a_row(5)}, INTERVAL)
    assert sum(event["counts"]["processes"] for event in first + second) == 5
