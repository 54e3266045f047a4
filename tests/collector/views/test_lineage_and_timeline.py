"""Lineage, pairs and timelines, from rows made by hand."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from collector.model import LedgerRows, PairRow, PodRow, PodRows, Snapshot, Span, TaskRow, TimelineRow
from collector.views.lineage.forest import MAX_DEPTH, forest
from collector.views.lineage.name_pairs import pairs_json
from collector.views.pods.pod_timeline import timeline_json
from collector.views.timeline.series import align, default_step, series

SECOND = 1_000_000_000


def task(entity, parent, time, comm="sh", parent_comm="sh", **rest):
    more = {"pid": 100 + time, "ns_pid": time, "parent_pid": 50, "parent_ns_pid": 5, "container": "app"} | rest
    return TaskRow(entity=entity, parent=parent, comm=comm, parent_comm=parent_comm, time=time, **more)


def shape(nodes):
    return {node["entity"]: shape(node["children"]) for node in nodes}


def walk(nodes):
    for node in nodes:
        yield node
        yield from walk(node["children"])


def test_children_are_under_their_parents_in_the_order_of_time():
    grown = forest([task("c", "a", 3), task("b", "a", 2), task("a", None, 1), task("d", "b", 4)])
    assert shape(grown.roots) == {"a": {"b": {"d": {}}, "c": {}}}
    (root,) = grown.roots
    assert [child["entity"] for child in root["children"]] == ["b", "c"]
    assert (root["forks"], root["descendants"], root["depth"], root["seen"]) == (2, 3, 0, True)
    assert (grown.depth, grown.fan_out, grown.processes) == (2, 2, 4)


def test_an_earlier_parent_is_a_root_with_what_its_newest_child_reports():
    grown = forest([
        task("b", "a", 2, parent_comm="dash", parent_pid=7, parent_ns_pid=1),
        task("c", "a", 3, parent_comm="nginx", parent_pid=7, parent_ns_pid=1),
    ])  # fmt: skip
    (root,) = grown.roots
    assert {key: root[key] for key in ("entity", "comm", "pid", "ns_pid", "time", "seen", "forks", "container")} == {
        "entity": "a", "comm": "nginx", "pid": 7, "ns_pid": 1, "time": None, "seen": False, "forks": 2, "container": None,
    }  # fmt: skip
    assert grown.processes == 2 and grown.depth == 1


def test_a_process_has_its_name_of_its_last_fork():
    grown = forest([
        task("a", None, 1, comm="sh"),
        task("b", "a", 2, comm="sh", parent_comm="sh"),
        task("c", "a", 3, comm="make", parent_comm="make"),
    ])  # fmt: skip
    assert [node["comm"] for node in walk(grown.roots)] == ["make", "sh", "make"]


def test_a_process_with_an_unknown_parent_is_a_root():
    assert shape(forest([task("a", None, 1), task("b", None, 2)]).roots) == {"a": {}, "b": {}}


def test_the_root_with_most_descendants_comes_first():
    grown = forest([task("a", None, 1), task("b", None, 2), task("c", "b", 3)])
    assert [root["entity"] for root in grown.roots] == ["b", "a"]


def test_a_chain_deeper_than_the_limit_is_cut_and_the_rest_is_counted():
    grown = forest([task(f"{n:016x}", f"{n - 1:016x}" if n else None, n + 1) for n in range(5000)])
    nodes = list(walk(grown.roots))
    assert len(nodes) == MAX_DEPTH + 1 and grown.depth == 4999 and grown.processes == 5000
    assert nodes[0]["descendants"] == 4999 and nodes[0]["hidden"] == 0
    assert nodes[-1]["hidden"] == nodes[-1]["descendants"] == 4999 - MAX_DEPTH and nodes[-1]["children"] == []
    orjson.dumps(grown.roots)


def test_wrong_times_or_parents_make_no_cycle():
    knot = [task("a", "b", 1), task("b", "a", 2), task("c", "c", 3), task("d", "e", 4), task("e", "d", 4)]
    grown = forest(knot)
    assert sorted(node["entity"] for node in walk(grown.roots)) == ["a", "b", "c", "d", "e"]


def test_a_process_that_occurs_twice_is_counted_once():
    grown = forest([task("a", None, 1), task("a", None, 1), task("b", "a", 2), task("b", "a", 3)])
    assert grown.processes == 2 and shape(grown.roots) == {"a": {"b": {}}}


names = st.sampled_from("abcdefgh")


@given(st.lists(st.tuples(names, st.none() | names, st.integers(0, 9))))
def test_every_process_is_in_the_forest_once_and_the_sums_agree(rows):
    grown = forest([task(*one) for one in rows])
    nodes = list(walk(grown.roots))
    entities = [node["entity"] for node in nodes]
    assert len(entities) == len(set(entities))
    assert {one[0] for one in rows} <= set(entities)
    assert sum(node["seen"] for node in nodes) == grown.processes == len({one[0] for one in rows})
    for node in nodes:
        assert node["forks"] == len(node["children"])
        assert node["descendants"] == sum(1 for _ in walk(node["children"]))
        assert all(child["depth"] == node["depth"] + 1 for child in node["children"])
    assert grown.depth == max((node["depth"] for node in nodes), default=0)
    assert grown.fan_out == max((node["forks"] for node in nodes), default=0)


def test_pairs_have_their_times():
    (pair,) = pairs_json([PairRow("sh", None, 7, 1, 2 * SECOND)])
    assert pair == {"parent": "sh", "child": None, "forks": 7} | {
        "first": "1970-01-01T00:00:00.000000001Z", "last": "1970-01-01T00:00:02.000000000Z",
    }  # fmt: skip


def row(container, start, processes, name="app", lost=0):
    return TimelineRow(container, name, start * SECOND, processes, 2, 3, lost)


def test_a_step_without_a_summary_is_unknown_and_not_zero():
    rows = [row("1", 10, 5), row("2", 30, 9, "side"), row("1", 30, 0), row("1", 30, 4)]
    first, second = series(rows, Span(10 * SECOND, 40 * SECOND), 10 * SECOND)
    assert (first["name"], first["processes"]) == ("app", [5, None, 4])
    assert (second["name"], second["processes"], second["threads"]) == ("side", [None, None, 9], [None, None, 2])


def test_rows_outside_the_range_are_in_no_step():
    assert series([row("1", 0, 5), row("1", 40, 5)], Span(10 * SECOND, 40 * SECOND), 10 * SECOND) == []


def test_steps_stay_in_place_from_one_second_to_the_next():
    assert align(Span(11 * SECOND, 29 * SECOND), 10 * SECOND) == align(Span(12 * SECOND, 30 * SECOND), 10 * SECOND)
    assert align(Span(11 * SECOND, 29 * SECOND), 10 * SECOND) == Span(10 * SECOND, 30 * SECOND)


def test_the_default_step_gives_at_most_120_steps():
    for seconds in (60, 3600, 86400, 7 * 86400, 90 * 86400):
        assert seconds * SECOND / default_step(Span(0, seconds * SECOND)) <= 120


def test_totals_are_the_sum_of_the_containers():
    pod = PodRow(1, "demo", "node1", "shop", "cart", "uid", 0, SECOND)
    snapshot = Snapshot([pod], 1, [], [], [], [], [], {}, LedgerRows([], [], [], [], [], []))
    rows = [row("1", 0, 5), row("2", 0, 7), row(None, 20, 1, None, lost=4)]
    identity = {"cluster": "demo", "pod_uid": "uid", "others": 0, "observable": True}
    span = Span(0, 30 * SECOND)
    timeline = timeline_json(PodRows(snapshot, [], [], [], []), identity, rows, span, 10 * SECOND, 40 * SECOND)
    assert timeline["totals"]["processes"] == [12, None, 1] and timeline["totals"]["lost"] == [0, None, 4]
    assert timeline["step_s"] == 10 and timeline["to"] == "1970-01-01T00:00:30.000000000Z"
    assert [line["container"] for line in timeline["containers"]] == ["2", "1", None]
