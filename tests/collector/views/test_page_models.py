"""The models of the pages, from rows made by hand: sparklines, lanes, lineage, outliers, addresses; and the static files."""

import hashlib
import re
from pathlib import Path
from urllib.parse import parse_qs

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import collector.pages
from collector.model import (
    CounterSourceRow,
    Filter,
    LedgerRows,
    LossRow,
    PodRow,
    PointRow,
    Snapshot,
    Span,
    TaskCounts,
    TaskRow,
    TimelineRow,
)
from collector.views.lineage.forest import forest
from collector.views.lineage.tables import MAX_ROWS as MAX_TREE_ROWS
from collector.views.lineage.tables import tree_rows
from collector.views.links import SORTS, PodListQuery, fork_pod_href, node_href, pod_href, search_href, workload_href
from collector.views.pods.list_page import COLUMNS, MAX_ROWS, pods_model
from collector.views.pods.workload_page import WorkloadName, workload_model
from collector.views.timeline.lanes import MAX_LANES, container_lanes, step_for
from collector.views.timeline.sparkline import area_path, line_path

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND
STEP = 10 * SECOND
WORKLOAD = WorkloadName("demo", "shop", "Deployment", "cart")


@given(st.lists(st.none() | st.floats(0, 1e6), max_size=40))
def test_a_line_stays_inside_its_box(history):
    for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", line_path(history) + area_path(history)):
        assert 0 <= float(x) <= 96.1 + 48 / max(1, len(history)) and 0 <= float(y) <= 24


def test_a_line_breaks_where_the_rate_is_unknown():
    assert line_path([1, 1, None, 1, 1]).count("M") == 2
    assert line_path([1, None, None, 1, 1]).count("L") == 2  # what is known once is a dash
    assert line_path([None, None]) == ""


def container(one, name, **counts):
    usual = dict.fromkeys(("processes", "threads", "since", "entered", "delivered", "suppressed", "lost"), 0)
    return {"id": one, "name": name, "image": "busybox", "kind": "app", "rate": None} | usual | counts


def row(container, step, processes, name="app"):
    return TimelineRow(container, name, NOW + step * STEP, processes, 1, 0, 0)


def test_a_lane_has_each_step_and_distinguishes_unknown_from_zero():
    (lane,) = container_lanes([row("c1", 0, 50), row("c1", 2, 0)], [container("c1", "app")], Span(NOW, NOW + 4 * STEP), STEP)
    assert [step["cells"][0] for step in lane["steps"]] == ["50", "–", "0", "–"]  # noqa: RUF001
    assert [step["value"] for step in lane["steps"]] == ["5", "", "0", ""]
    assert [step["threads"] for step in lane["steps"]] == ["0.1", "", "0.1", ""]
    assert lane["summary"] == "at most 5.0 forks a second, at last 0; at most 0.1 threads"


def test_a_restarted_container_keeps_its_lane():
    containers = [container("c2", "app", processes=4, rate=2.0), container("c1", "app", processes=3)]
    (lane,) = container_lanes([row("c1", 0, 3), row("c2", 0, 4)], containers, Span(NOW, NOW + STEP), STEP)
    assert lane["steps"][0]["cells"][0] == lane["processes"] == "7"
    assert "2 times" in lane["details"]


def test_no_fork_is_left_out_where_there_are_many_containers():
    many = [container(f"c{n}", f"n{n}", processes=1) for n in range(40)]
    rows = [row(f"c{n}", 0, 1, f"n{n}") for n in range(40)] + [row("other", 0, 5, "unheard of"), row(None, 0, 2, None)]
    lanes = container_lanes(rows, many, Span(NOW, NOW + STEP), STEP)
    assert sum(int(lane["steps"][0]["cells"][0]) for lane in lanes) == 47
    assert len(lanes) <= MAX_LANES + 3


def test_a_step_is_never_shorter_than_an_agents_interval():
    span = Span(NOW, NOW + 900 * SECOND)
    assert step_for(span, []) == 10 * SECOND
    assert step_for(span, [PointRow(1, n * 60 * SECOND, (n + 1) * 60 * SECOND, 1) for n in range(3)]) == 60 * SECOND


def task(entity, parent, time, comm="sh"):
    return TaskRow(entity, parent, comm, comm, time, time, time, time, NOW + time, "app")


def test_similar_children_are_one_row_and_all_are_counted():
    tasks = [task("a", None, 1), *(task(f"k{n}", "a", 2 + n, "job") for n in range(9)), task("z", "a", 20, "other")]
    rows, hidden = tree_rows(forest(tasks).roots)
    assert [(one["level"], one["many"]) for one in rows] == [(0, ""), (1, "9"), (1, "")]
    assert (rows[1]["pid"], hidden) == ("2 … 10", 0)


def test_a_long_chain_and_many_children_are_cut_and_the_rest_is_counted():
    chain = [task(f"{n}", f"{n - 1}" if n else None, n + 1) for n in range(900)]
    rows, _ = tree_rows(forest(chain).roots)
    assert rows[-1]["hidden"]
    crowd = [task("a", None, 0), *(task(f"k{n}", "a", n + 1, f"comm{n}") for n in range(MAX_TREE_ROWS + 50))]
    rows, hidden = tree_rows(forest(crowd).roots)
    assert (len(rows), hidden) == (MAX_TREE_ROWS, 51)


def workload(rates):
    pods, counter_sources, points = [], [], []
    for one, rate in enumerate(rates, 1):
        pods.append(PodRow(one, "demo", "node1", "shop", f"cart-{one}", f"uid{one}", 0, NOW))
        k8s = {"workload": {"kind": "Deployment", "name": "cart"}}
        attribution = orjson.dumps({"cgroup": {"id": one}, "container": {"id": f"c{one}"}, "k8s": k8s})
        nothing = TaskCounts(0, 0, 0, 0, 0, 0, 0)
        counter_sources.append(
            CounterSourceRow(one, 1, one, one, "demo", "node1", attribution, 0, 0, NOW, NOW - STEP, NOW, NOW, nothing, nothing)
        )
        points += [PointRow(one, NOW - (n + 1) * STEP, NOW - n * STEP, rate * 10) for n in range(30)]
    ledger = LedgerRows([], [], [], [], [], [])
    return Snapshot(pods, len(pods), counter_sources, [], points, [], [], {}, ledger)


@pytest.mark.parametrize(
    ("rates", "outliers"),
    [
        ([10, 11, 9, 60], ["cart-4"]),
        ([10, 11, 9, 1], ["cart-4"]),
        ([10, 10, 10, 10], []),
        ([10, 18, 6, 14], []),  # spread, but without an outlier
        ([10, 30, 3, 12, 25, 5], []),  # as far from the median as the others are
        ([1, 1000], []),  # two pods have no outlier
        ([0, 0, 0, 5], ["cart-4"]),
        ([0, 0, 0, 0], []),
    ],
)
def test_an_outlier_is_far_from_the_others_and_not_only_busy(rates, outliers):
    model = workload_model(workload(rates), WORKLOAD, NOW)
    assert [pod["name"] for pod in model["pods"] if pod["outlier"]] == outliers
    assert model["outliers"] == len(outliers)


def test_all_pods_of_a_workload_are_drawn_on_one_scale_and_over_one_time():
    shot = workload([10, 20, 40])
    late = [
        point._replace(start=point.start - 5 * STEP, end=point.end - 5 * STEP)
        for point in shot.points
        if point.counter_source_id == 1
    ]
    shot = shot._replace(points=late + [point for point in shot.points if point.counter_source_id != 1])
    drawings = {pod["name"]: pod["draw"] for pod in workload_model(shot, WORKLOAD, NOW)["pods"]}
    ends = {
        name: [tuple(map(float, pair)) for pair in re.findall(r"([\d.]+) ([\d.]+)", path)][-1]
        for name, path in drawings.items()
    }
    assert ends["cart-2"][0] == ends["cart-3"][0] == 220.0
    assert ends["cart-1"][0] < 190  # it fell silent earlier, and that is seen
    slow = [PointRow(1, NOW - (n + 1) * 30 * SECOND, NOW - n * 30 * SECOND, 300) for n in range(10)]
    shot = shot._replace(points=slow + [one for one in shot.points if one.counter_source_id != 1])
    (summed_up_seldom,) = [pod["draw"] for pod in workload_model(shot, WORKLOAD, NOW)["pods"] if pod["name"] == "cart-1"]
    assert summed_up_seldom.startswith("M0.0 ")  # its 5 minutes are the others', too
    heights = [64 - ends[f"cart-{n}"][1] for n in (1, 2, 3)]
    assert heights[0] < heights[1] < heights[2]


def test_a_pod_that_cannot_be_observed_has_unknown_counts():
    shot = workload([10])
    unseen = LossRow(1, 1, None, "sched_process_fork", "not_observable", None, True, 0)
    (row,) = pods_model(shot._replace(losses=[unseen]), PodListQuery(), NOW)["rows"]
    assert (row["forks"], row["threads"], row["rate"]) == ("–", "–", "–")  # noqa: RUF001
    assert [badge["text"] for badge in row["missing"]] == ["not observable"]
    assert (row["complete"], row["line"]) == ("", "")


def test_pods_beyond_the_limit_of_the_page_are_counted_and_sorted():
    shot = workload(range(MAX_ROWS + 50))
    model = pods_model(shot._replace(pods_in_all=20_000), PodListQuery(sort="rate", order="desc"), NOW)
    assert model["count"] == f"20,000 pods, {MAX_ROWS} shown, of the {MAX_ROWS + 50} seen last"
    assert len(model["rows"]) == MAX_ROWS


def test_every_sortable_column_is_a_valid_sort_parameter():
    assert {name for name, _, _ in COLUMNS if name} == set(SORTS)


def test_an_address_has_every_choice_but_no_defaults():
    list_query = PodListQuery(Filter(namespace="a&b", labels=(("app", "x=y"),)), "rate", "asc")
    assert list_query.href() == "?namespace=a%26b&label=app%3Dx%3Dy&sort=rate&order=asc"
    assert PodListQuery().href() == "?"
    assert list_query.href_sorted_by("rate").endswith("sort=rate") and PodListQuery().href_sorted_by("name").endswith(
        "sort=name"
    )


@pytest.mark.parametrize("name", ["..", ".", "a/b", "</a>", "a?b#c", "%2e%2e", "\u202e", "\ud800"])
def test_no_name_changes_the_path_of_an_address(name):
    k8s = {"namespace": name, "pod": name, "cluster": name, "pod_uid": name}
    own = pod_href(name, name, name, name, 7)
    of_workload = workload_href(name, name, {"kind": "Job", "name": name})
    for href in (own, fork_pod_href(k8s), of_workload, node_href(name, name), search_href(comm=name)):
        path = href.partition("?")[0]
        assert href.isascii() and not re.search(r"[<>\"'\s#]", href)
        assert not {".", ".."} & set(path.split("/"))
    path, _, words = own.partition("?")
    assert path == "pod/7" if name in (".", "..") else path.count("/") == 2
    assert not words or parse_qs(words) == {word: [name.replace("\ud800", "?")] for word in ("cluster", "pod_uid")}
    assert pod_href(name, name, name, None, 7) == "pod/7"
    assert fork_pod_href(k8s) == ("" if name in (".", "..") else own)


def test_the_chart_library_has_the_documented_checksums():
    static = Path(collector.pages.__file__).parent / "static"
    noted = dict(re.findall(r"`(uPlot\.[\w.]+)` \| `([0-9a-f]{64})`", (static / "README.md").read_text()))
    assert len(noted) == 3
    for name, digest in noted.items():
        assert hashlib.sha256((static / name).read_bytes()).hexdigest() == digest


def test_no_file_for_browsers_names_another_host_or_writes_html():
    static = Path(collector.pages.__file__).parent / "static"
    for path in static.glob("*.js"):
        if not path.name.startswith("uPlot"):
            assert not re.search(
                r"https?://|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", path.read_text()
            ), path
    for path in (static.parent / "templates").glob("*.html"):
        text = path.read_text()
        assert not re.search(r"https?://|\son\w+=|style=|\|\s*safe|<style|javascript:", text), path
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))
