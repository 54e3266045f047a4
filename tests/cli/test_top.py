"""`forklore top`, driven by its keys: the table's content and order, and the screen of a pod."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from textual.events import Key
from textual.widgets import Input, Static, TabbedContent

from cli.client.client import Collector
from cli.client.json_view import JsonView
from cli.options import Access
from cli.text.pieces import plain
from cli.top.app import Top
from cli.top.pod_lines import latest_lines, overview_lines, pair_lines
from cli.top.rows import COLUMNS, TableView, as_text, cells, rows_of, visible_rows
from cli.top.table import PodTable
from wire.names import UNKNOWN

from .answers import GAP, HOSTILE, STORM, detail, fork, node, pod, pods, tree
from .processes import is_harmless, run_forklore

pytestmark = pytest.mark.slow

PODS = "/v1/pods"
TITLES = [column.title for column in COLUMNS]


@asynccontextmanager
async def running_top(collector, query=(), size=(200, 24), interval=0.5):
    """The application over a real client."""
    async with Collector(Access(collector.url, collector.url, None, None)) as client:
        top = Top(client, list(query), TableView(), interval, await client.get(("v1", "pods")))
        async with top.run_test(size=size) as pilot:
            await pilot.pause()
            yield Screen(top, pilot)


class Screen:
    def __init__(self, top, pilot):
        self.top, self.pilot = top, pilot

    @property
    def table(self):
        table = self.top.screen_stack[0].query_one(PodTable)
        return [dict(zip(TITLES, (str(cell) for cell in table.get_row_at(row)), strict=True)) for row in range(table.row_count)]

    @property
    def names(self):
        return [row["pod"] for row in self.table]

    def text(self, what):
        return str(self.top.screen.query_one(what, Static).render())

    async def press(self, *keys):
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, holds):
        async with asyncio.timeout(20):
            while not holds():  # noqa: ASYNC110 - a screen has no event for this
                await asyncio.sleep(0.02)


@pytest.fixture
def three(collector):
    collector.answers[PODS] = pods(
        pod("cart-1", rate=1.5, processes=541),
        pod("api-1", rate=120.0, processes=61240, threads=4, missing={"suppressed": 61240}, storm=STORM, storms_in_all=2),
        pod("idle-1", namespace="back", rate=0.0, processes=7, threads=200, missing={"ring_full": 3}, node="node2"),
        host=[pod(None, namespace=None, rate=0.2, processes=99, pod_uid=None, workload=None)],
    )
    return collector


async def test_the_pods_with_the_highest_rate_come_first_with_all_columns(three):
    async with running_top(three) as screen:
        assert screen.names == ["shop/api-1", "shop/cart-1", "outside pods", "back/idle-1"]
        assert screen.table[0] == {
            "pod": "shop/api-1",
            "forks/s": "120",
            "lately": "·················▃▁█",
            "processes": "61,240",
            "threads": "4",
            "forks most": "sh 61,240",
            "missing": "in a storm, 61,240 suppressed, 2 storms so far",
            "workload": "Deployment/cart",
            "node": "node1",
        }
        head = screen.text("#head")
        assert "3 pods" in head and "1 in a storm" in head and "61,243 missing" in head


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("f", ["shop/api-1", "shop/cart-1", "outside pods", "back/idle-1"]),
        ("t", ["back/idle-1", "shop/cart-1", "outside pods", "shop/api-1"]),
        ("m", ["shop/api-1", "back/idle-1", "shop/cart-1", "outside pods"]),
        ("n", ["back/idle-1", "shop/api-1", "shop/cart-1", "outside pods"]),
        ("o", ["shop/api-1", "shop/cart-1", "outside pods", "back/idle-1"]),
    ],
)
async def test_a_key_sorts_and_pressed_again_reverses(three, key, names):
    async with running_top(three) as screen:
        await screen.press(key)
        assert screen.names == names
        assert "▼" in str(screen.top.screen.query_one(PodTable).ordered_columns[COLUMNS.index(_sorted_by(key))].label)
        await screen.press(key)
        if key not in "tm":  # equal rows keep their order
            assert screen.names == names[::-1]
        await screen.press("r")
        assert screen.names[0] == "shop/api-1"


def _sorted_by(key):
    sort = {"f": "forks", "t": "threads", "m": "missing", "n": "name", "o": "node"}[key]
    return next(column for column in COLUMNS if column.sort == sort)


async def test_the_filter_searches_all_names_here_and_at_the_collector(three):
    async with running_top(three, query=[("namespace", "shop"), ("limit", "7")]) as screen:
        assert not screen.top.screen.query_one("#filter", Input).display
        await screen.press("slash", *"IDLE")
        assert screen.names == ["back/idle-1"]
        await screen.until(lambda: dict(three.requests[-1].query).get("text") == "IDLE")
        assert dict(three.requests[-1].query) == {"namespace": "shop", "limit": "7", "text": "IDLE"}
        await screen.press("enter")
        assert isinstance(screen.top.focused, PodTable) and "filter: IDLE" in screen.text("#head")
        await screen.press("escape")
        assert len(screen.names) == 4 and screen.top.screen.query_one("#filter", Input).value == ""
        await screen.until(lambda: "text" not in dict(three.requests[-1].query))


async def test_the_table_is_refreshed_and_the_cursor_stays_on_its_pod(three):
    async with running_top(three) as screen:
        table = screen.top.screen.query_one(PodTable)
        await screen.press("down", "down", "down")
        assert table.selected.pod == "idle-1"
        three.answers[PODS] = pods(
            pod("new-1", rate=5.0), pod("idle-1", namespace="back", rate=9.0, processes=8, node="node2"), pod("old-1")
        )
        await screen.until(lambda: screen.names == ["back/idle-1", "shop/new-1", "shop/old-1"])
        assert (table.selected.pod, table.cursor_row) == ("idle-1", 0)
        assert screen.table[0]["processes"] == "8"
        three.answers[PODS] = pods()
        await screen.until(lambda: not screen.names)
        assert table.selected is None
        await screen.press("enter", "down", "n")
        three.answers[PODS] = pods(pod("new-1"))
        await screen.until(lambda: screen.names == ["shop/new-1"])


async def test_a_pause_keeps_the_rows(three):
    async with running_top(three) as screen:
        await screen.press("space")
        requests = len(three.requests)
        three.answers[PODS] = pods()
        await asyncio.sleep(1.2)
        assert len(three.requests) <= requests + 1 and len(screen.names) == 4 and "paused" in screen.text("#head")
        await screen.press("space")
        await screen.until(lambda: not screen.names)


async def test_a_collector_that_does_not_answer_is_reported_and_retried(three):
    async with running_top(three) as screen:
        good, three.answers[PODS] = three.answers[PODS], (503, {"error": "the store does not answer"})
        await screen.until(lambda: "the store does not answer" in screen.text("#message"))
        assert len(screen.names) == 4 and "old" in screen.text("#message")
        three.answers[PODS] = good
        await screen.until(lambda: screen.text("#message") == "")


async def test_a_permanent_error_ends_it(three):
    async with running_top(three) as screen:
        three.answers[PODS] = (401, {"error": "a token is wanted"})
        await screen.until(lambda: not screen.top.is_running or screen.top.return_value is not None)
    assert screen.top.return_value.code == 77


async def test_a_pod_s_own_screen_has_its_pairs_lineage_and_latest_forks(three):
    entry = three.answers[PODS]["pods"][1]
    path = f"{PODS}/shop/api-1"
    three.answers[path] = detail(entry, storms=[STORM, {**STORM, "reason": "ring"}], gaps=[GAP], latest=[fork(1, pod="api-1")])
    pairs = [{"parent": "sh", "child": None, "forks": 12, "first": "2026-11-22T19:48:30.1Z", "last": "2026-11-22T19:48:31.1Z"}]
    three.answers[f"{path}/tree"] = tree(node(6039, children=[node(7001, "date")]), pairs=pairs)
    async with running_top(three) as screen:
        await screen.press("enter")
        assert "61,240 processes" in screen.text("#in-overview")  # at once, from the row of the table
        await screen.until(lambda: "214 forks missing" in screen.text("#in-overview") and "date" in screen.text("#in-lineage"))
        overview = screen.text("#in-overview")
        for text in (
            "storm, goes on: 904 forks, 902 only counted; the limit is 2,000 a second",
            "902 only counted; more than its share of the kernel's ring",
            "app=cart",
            "busybox:1.36",
            "S storm, ! forks missing",
            "19:45:00",
        ):
            assert text in overview
        assert "└─ date 7001/1001" in screen.text("#in-lineage")
        assert "(no children)" in screen.text("#in-pairs") and "12" in screen.text("#in-pairs")
        assert "sh 6039/1 -> 7001/101" in screen.text("#in-latest")
        for key, pane in (("2", "pairs"), ("3", "lineage"), ("4", "latest"), ("1", "overview")):
            await screen.press(key)
            assert screen.top.screen.query_one(TabbedContent).active == pane
        assert dict(three.requests_to(f"{path}/tree")[0].query) == {
            "cluster": "demo",
            "pod_uid": "uid-of-api-1",
            "limit": "500",
        }
        await screen.press("escape")
        assert len(screen.top.screen_stack) == 1


async def test_another_pod_of_the_same_name_is_not_shown_for_it(three):
    """The request selects exactly this pod, which the collector may have deleted."""

    def answer(request):
        if request.query.get("pod_uid") == "uid-of-api-1" and request.query.get("cluster") == "demo":
            return 404, {"error": "no pod of that name, of that cluster and uid, is known"}
        return detail(pod("api-1", pod_uid="another", node="elsewhere"), latest=[fork(1)])

    three.answers[f"{PODS}/shop/api-1"] = answer
    three.answers[f"{PODS}/shop/api-1/tree"] = tree()
    async with running_top(three) as screen:
        await screen.press("enter")
        await screen.until(lambda: "of that cluster and uid" in screen.text("#error"))
        assert "elsewhere" not in screen.text("#in-overview")


async def test_forks_outside_pods_have_a_screen_of_the_known_facts(three):
    async with running_top(three) as screen:
        await screen.press("down", "down", "enter")
        await screen.until(lambda: "not known" in screen.text("#in-lineage"))
        assert "99 processes" in screen.text("#in-overview")
        assert all(request.path == PODS for request in three.requests)


async def test_a_pod_that_is_gone_is_reported(three):
    three.answers[f"{PODS}/shop/api-1"] = (404, {"error": "no pod of that name is known"})
    async with running_top(three) as screen:
        await screen.press("enter")
        await screen.until(lambda: "no pod of that name" in screen.text("#error"))


def test_before_the_first_summary_counts_are_unknown_and_not_zero():
    (row,) = rows_of(JsonView(pods(pod(summed=False, processes=0, threads=0, rate=None, history=[]))))
    cell = dict(zip(TITLES, map(plain, cells(row)), strict=True))
    assert [cell["forks/s"], cell["processes"], cell["threads"], cell["missing"]] == [*[UNKNOWN] * 3, "not summed up yet"]
    assert f"{UNKNOWN} processes" in plain(next(iter(overview_lines(row.entry))))


def test_missing_forks_are_listed_by_reason_and_complete_means_none():
    def missing(**changes):
        (row,) = rows_of(JsonView(pods(pod(**changes))))
        return plain(cells(row)[TITLES.index("missing")])

    assert missing() == "complete"
    assert missing(missing={"ring_full": 214, "journal_full": 3}) == "214 ring full, 3 journal full"
    assert missing(awaited=12) == "12 not arrived yet"
    assert missing(unknown_share={"restart": 7}) == "its share of 7 is not known"
    assert missing(storms_in_all=1) == "complete, 1 storm so far"


def test_storms_and_gaps_are_marked_below_their_intervals():
    lines = list(map(plain, overview_lines(JsonView(detail(pod(), storms=[STORM], gaps=[GAP], node_gaps=[])))))
    place = next(number for number, text in enumerate(lines) if "S storm" in text)
    # 30 intervals of 10 s from 19:43:40: the gap is in the ninth and tenth, the storm from the 24th on.
    assert lines[place][:30] == " " * 8 + "!!" + " " * 13 + "S" * 7
    assert lines[place - 1][:30] == "·" * 27 + "▃▁█"


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_stay_text_on_the_screen(collector, name):
    entry = pod(name, namespace=name, node=name, top=[{"comm": name, "forks": 3}], missing={name: 3}, labels={name: name})
    entry["workload"] = {"kind": name, "name": name}
    entry["containers"][0].update(name=name, image=name, kind=name)
    gap = GAP | {"reason": name, "sink": name, "missing": name}
    hostile = detail(entry, latest=[fork(1, comm=name)], storms=[STORM | {"state": name}], gaps=[gap], node_gaps=[gap])
    lineage = tree(
        node(7001, name, container=name), pairs=[{"parent": name, "child": name, "forks": 1, "first": name, "last": name}]
    )
    collector.answers[PODS] = pods(entry, nodes=[{"node": name, "silent": True}])

    def by_path(path):
        return lineage if path.endswith("/tree") else hostile

    collector.answers = AnyPod(collector.answers, by_path)
    async with running_top(collector) as screen:
        assert screen.table[0]["pod"].isprintable() and len(screen.table) == 1
        await screen.press("enter")
        await screen.until(lambda: "..." not in (screen.text("#in-lineage"), screen.text("#in-latest")))
        for what in ("#name", "#in-overview", "#in-pairs", "#in-lineage", "#in-latest", "#error"):
            assert is_harmless(screen.text(what)), what
        svg = screen.top.export_screenshot()
        assert all(letter.isprintable() or letter == "\n" for letter in svg)
        assert screen.top.is_running


class AnyPod(dict):
    """Answers for pods of any name."""

    def __init__(self, answers, other):
        super().__init__(answers)
        self._other = other

    def get(self, path, _default):
        return self[path] if path in self else self._other(path)


@pytest.mark.parametrize(
    "answer", [[], None, {"pods": [{}]}, {"pods": [7, None, []]}, {"pods": {"a": 1}, "pods_in_all": "x", "host": 3}]
)
def test_answers_of_the_wrong_shape_do_not_crash_it(answer):
    rows = visible_rows(rows_of(JsonView(answer)), TableView())
    assert all(isinstance(plain(line), str) for line in as_text(rows))
    for row in rows:
        assert list(overview_lines(row.entry)) and list(pair_lines(row.entry)) and list(latest_lines(row.entry))


async def test_without_a_terminal_the_table_is_printed_once(three):
    result = await run_forklore(three, "top", "--sort", "name", "--cluster", "demo")
    assert result.code == 0 and is_harmless(result.out) and "\x1b" not in result.out
    assert [one.split()[0] for one in result.lines[1:4]] == ["back/idle-1", "shop/api-1", "shop/cart-1"]
    assert result.lines[-1].startswith("3 pods  122 forks/s  1 in a storm  61,243 missing")
    assert dict(three.requests[0].query) == {"cluster": "demo", "limit": "1000"}


async def test_an_error_at_the_first_request_is_reported_without_a_screen(collector, forklore):
    collector.answers[PODS] = (401, {"error": "a token is wanted"})
    result = await forklore("top")
    assert (result.code, result.out) == (77, "") and "--token-file" in result.err
    assert (await run_forklore(None, "top")).code == 69
    assert (await forklore("top", "--interval", "0")).code == 2


async def test_letters_typed_before_the_filter_has_opened_belong_to_it(three):
    async with running_top(three) as screen:
        for letter in "/tmno":
            screen.top.post_message(Key("slash" if letter == "/" else letter, letter))
        await screen.until(lambda: "tmno" in screen.text("#head"))
        assert "▼" in str(screen.top.screen.query_one(PodTable).ordered_columns[1].label)  # still by rate


async def test_a_pod_that_is_not_observable_has_no_counts(three):
    """Its sandbox has a kernel of its own: what the node counts is not what the pod forks."""
    three.answers[PODS]["pods"][1]["observable"] = False
    async with running_top(three) as screen:
        row = next(row for row in screen.table if row["pod"] == "shop/api-1")
        assert [row[title] for title in ("forks/s", "processes", "threads")] == [UNKNOWN] * 3
        assert row["missing"].startswith("not observable") and not row["lately"].strip()
        await screen.press("n", "down", "enter")
        overview = screen.text("#in-overview")
        assert f"{UNKNOWN} processes" in overview and "61,240 processes" not in overview and "not observable" in overview
