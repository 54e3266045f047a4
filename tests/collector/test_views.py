"""The sums and words that people read, out of rows made by hand."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.rows import GapRow, HolderRow, NodeRow, PodRow, PointRow, Snapshot, Tally
from collector.views.display import Wish, page_model, pod_name, spark
from collector.views.ledger import node_entries
from collector.views.nodecards import node_card
from collector.views.pods import pod_entries
from collector.views.words import UNKNOWN, ago, number, per_second, visible

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND
POD = PodRow(1, "demo", "node1", "shop", "cart-1", "uid", 0, NOW)


def tally(processes=0, *, lost=0, suppressed=0):
    return Tally(processes, 0, processes - lost - suppressed, 0, suppressed, lost, 0)


def holder(one, *, end=NOW, seconds=10, now=0, received=NOW, total=0, lost=0, suppressed=0, filed=0):
    subject = orjson.dumps({"cgroup": {"id": one}, "container": {"id": f"c{one}"}, "k8s": {}})
    start = None if end is None else end - seconds * SECOND
    counts, totals = tally(now), tally(total, lost=lost, suppressed=suppressed)
    return HolderRow(one, 1, one, 1, "demo", "node1", subject, filed, 0, NOW, start, end, received, counts, totals)


def gap(amount, reason="ring_full", sink=None):
    return GapRow(None, "demo", "node1", 1, 1, "sched_process_fork", reason, sink, amount, 0, NOW)


def entry(*holders, gaps=(), points=()):
    return pod_entries(Snapshot([POD], 1, list(holders), [], list(points), list(gaps), []), NOW)[0]


def node(*, received=NOW, captured=10, delivered=10, lost=None, sink_lost=None, queued=None):
    sink = {"delivered": delivered, "queued": queued or {}, "lost": sink_lost or {}, "filtered": {}}
    ledger = {"captured": captured, "suppressed": 0, "kernel_workers": 0, "lost": lost or {}, "sinks": {"collector": sink}}
    body = {"agent": {}, "lag_ms": 0, "counts": {}, "totals": {}, "heads": {"0": 12}, "ledger": ledger}
    return NodeRow(1, "stream", "demo", "node1", NOW - 10 * SECOND, NOW, received, orjson.dumps(body), 10)


def test_a_rate_is_the_sum_of_the_newest_intervals():
    assert entry(holder(1, now=23), holder(2, now=10, seconds=5))["rate"] == 2.3 + 2.0


@pytest.mark.parametrize(
    ("end", "received", "rate"),
    [
        (NOW - 30 * SECOND, NOW, 2.3),
        (NOW - 31 * SECOND, NOW, None),  # a journal that brings old summaries now
        (NOW + 900 * SECOND, NOW - 31 * SECOND, None),  # a clock that runs ahead, and an agent that is gone
        (None, None, None),
    ],
)
def test_a_rate_is_unknown_when_three_intervals_passed_without_a_word(end, received, rate):
    assert entry(holder(1, now=23, end=end, received=received))["rate"] == rate


def test_a_quiet_pod_has_the_rate_nought_and_not_unknown():
    assert entry(holder(1, now=0))["rate"] == 0


def test_every_loss_has_a_reason():
    found = entry(holder(1, total=100, lost=30, suppressed=5), gaps=[gap(20), gap(4, "journal_full", "siem")])
    assert found["missing"] == {"journal_full (siem)": 4, "ring": 10, "ring_full": 20, "suppressed": 5}
    assert entry(holder(1, total=100, lost=20), gaps=[gap(20)])["missing"] == {"ring_full": 20}
    assert entry(holder(1, total=100, lost=20), gaps=[gap(20, "recursion")])["missing"] == {"recursion": 20, "ring": 20}
    assert entry(holder(1, total=100))["missing"] == {}


def test_what_was_sent_and_is_not_here_is_awaited():
    assert entry(holder(1, total=100, lost=10, filed=85))["awaited"] == 5
    # A deeper cgroup of the container has forks and no summary of its own.
    assert entry(holder(1, total=100, filed=40), holder(2, end=None, filed=60))["awaited"] == 0


@pytest.mark.parametrize(
    ("of", "gaps", "said"),
    [
        (holder(1, total=9, filed=9), [], "complete"),
        (holder(1, total=9, filed=7), [], "2 not here yet"),
        (holder(1, end=None, filed=7), [], "not summed up yet"),
        (holder(1, total=9, lost=2, filed=7), [gap(2)], ""),
    ],
)
def test_a_row_is_complete_only_when_everything_is_here(of, gaps, said):
    (row,) = page_model(Snapshot([POD], 1, [of], [], [], gaps, []), Wish(), None, NOW)["rows"]
    assert (row["complete"], [badge["text"] for badge in row["missing"]]) == (said, ["2 ring full"] if gaps else [])


def test_a_history_has_one_place_for_each_interval_and_none_where_nothing_was_said():
    points = [PointRow(1, NOW - (back + 1) * 10 * SECOND, NOW - back * 10 * SECOND, 10 * back) for back in (0, 1, 3, 29, 30)]
    history = entry(holder(1), points=points)["history"]
    assert len(history) == 30
    assert {place: rate for place, rate in enumerate(history) if rate is not None} == {29: 0.0, 28: 1.0, 26: 3.0, 0: 29.0}


@pytest.mark.parametrize(
    ("row", "state", "verdict"),
    [
        (node(), "ok", "adds up, nothing lost"),
        (node(delivered=7, queued={"ring": 1, "journal": 2}), "ok", "adds up, nothing lost"),
        (node(delivered=6, lost={"ring": 3}, sink_lost={"journal": 1}), "warn", "adds up, 4 lost"),
        (node(delivered=9), "bad", "does not add up: collector -1"),
        (node(received=NOW - 45 * SECOND), "bad", "silent for 45 s"),
    ],
)
def test_a_node_says_whether_its_ledger_adds_up(row, state, verdict):
    (told,) = node_entries([row], NOW)
    card = node_card(told, NOW)
    assert (card["state"], card["verdict"]) == (state, verdict)
    assert card["came"] == "10 of 12 events came here"


def test_the_newest_stream_speaks_for_its_node():
    old = node()._replace(stream=2, stream_name="old", end=NOW - SECOND)
    assert [told["stream"] for told in node_entries([old, node()], NOW)] == ["stream"]


@given(st.text())
def test_a_shown_name_is_printable_and_tells_names_apart(name):
    shown = visible(name)
    assert shown.isprintable()
    if not name.isprintable() or "\\" in name:
        assert shown != name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("sh", "sh"),
        ("\x01<b>\"\n\ufffd'", "\\x01<b>\"\\n\ufffd'"),
        ("a\u202eb\u2066", "a\\u202eb\\u2066"),
        ("\\x01", "\\\\x01"),
        ("tab\there", "tab\\there"),
        ("\U000e0001", "\\U000e0001"),
        ("żółw 亀", "żółw 亀"),
        (None, UNKNOWN),
    ],
)
def test_what_does_not_show_itself_is_shown(name, shown):
    assert visible(name) == shown


def test_numbers_read_well():
    assert [number(1234567), number(None)] == ["1,234,567", UNKNOWN]
    assert [per_second(rate) for rate in (None, 0, 0.001, 0.05, 2.34, 99.94, 1234.5)] == [
        UNKNOWN,
        "0",
        "<0.01",
        "0.05",
        "2.3",
        "99.9",
        "1,234",
    ]
    moments = [NOW, NOW - 5 * SECOND, NOW - 200 * SECOND, NOW + 60 * SECOND, None]
    assert [ago(moment, NOW) for moment in moments] == ["now", "5 s ago", "3 min ago", "60 s ahead of our clock", "never"]


@given(st.lists(st.none() | st.floats(0, 1e6), max_size=40))
def test_a_line_stays_inside_its_box(history):
    for pair in spark(history).split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= 88.1 and 0 <= y <= 22


def test_the_filter_finds_pods_by_all_its_words():
    pods = [POD, POD._replace(id=2, name="web-1", uid="other"), POD._replace(id=3, namespace="blog", uid="third")]
    shot = Snapshot(pods, 3, [], [], [], [], [])
    assert [row["key"] for row in page_model(shot, Wish(find="SHOP cart"), None, NOW)["rows"]] == ["p1"]
    assert "“zzz”" in page_model(shot, Wish(find="zzz"), None, NOW)["none"]


@pytest.mark.parametrize(
    ("name", "uid", "cgroup", "shown"),
    [("cart", "u", 7, "cart"), (None, "u", 7, "u"), (None, None, 7, "cgroup 7"), (None, None, 0, "all other cgroups")],
)
def test_a_pod_has_the_best_name_there_is(name, uid, cgroup, shown):
    assert pod_name({"pod": name, "pod_uid": uid, "cgroup": {"id": cgroup}}) == shown


def test_a_link_keeps_what_else_was_wished():
    assert Wish(pod="p1", sort="rate", find="a&b").href(pod="p2") == "?pod=p2&sort=rate&find=a%26b"
