"""Counts, verdicts and formatted values, from rows made by hand."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.model import CounterSourceRow, GapRow, LedgerRows, LossRow, NodeRow, PodRow, Snapshot, StreamRow, TaskCounts
from collector.views.formatting import UNKNOWN, number, per_second, time_ago, visible
from collector.views.links import PodListQuery
from collector.views.nodes.ledger import ledger_json, node_entries
from collector.views.nodes.node_card import node_card
from collector.views.pods.entries import pod_entries
from collector.views.pods.list_page import pods_model
from collector.views.pods.pod_text import display_name
from collector.views.times import format_span, parse_stamp, stamp

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND
POD = PodRow(1, "demo", "node1", "shop", "cart-1", "uid", 0, NOW)


def counters(processes=0, *, lost=0, suppressed=0):
    return TaskCounts(processes, 0, processes - lost - suppressed, 0, suppressed, lost, 0)


def counter_source(one, *, end=NOW, seconds=10, now=0, received=NOW, total=0, lost=0, suppressed=0, stored=0):
    attribution = orjson.dumps({"cgroup": {"id": one}, "container": {"id": f"c{one}"}, "k8s": {}})
    start = None if end is None else end - seconds * SECOND
    counts, totals = counters(now), counters(total, lost=lost, suppressed=suppressed)
    return CounterSourceRow(one, 1, one, 1, "demo", "node1", attribution, stored, 0, NOW, start, end, received, counts, totals)


def loss(amount, reason="ring_full"):
    return LossRow(1, 1, 1, "sched_process_fork", reason, None, True, amount)


def ledger(node=None, *, gaps=()):
    """`node`: a NodeRow and the StreamRow that it belongs to."""
    return LedgerRows([node[0]] if node else [], [node[1]] if node else [], [], list(gaps), [], [])


def snapshot(*counter_sources, pods=(POD,), losses=(), of=None):
    return Snapshot(list(pods), len(pods), list(counter_sources), [], [], list(losses), [], {}, of or ledger())


def entry(*counter_sources, **rest):
    return pod_entries(snapshot(*counter_sources, **rest), NOW)[0]


def node(*, received=NOW, captured=10, delivered=10, lost=None, sink_lost=None, queued=None, came=12):
    sink = {"delivered": delivered, "queued": queued or {}, "lost": sink_lost or {}, "filtered": {}}
    ledger_body = {"captured": captured, "suppressed": 0, "kernel_workers": 0, "lost": lost or {}, "sinks": {"collector": sink}}
    totals = counters(12)._asdict()
    body = {"agent": {}, "lag_ms": 0, "counts": {}, "totals": totals, "heads": {"0": 12}, "ledger": ledger_body}
    row = NodeRow(1, "demo", "node1", NOW - 10 * SECOND, NOW, received, orjson.dumps(body))
    return row, StreamRow(1, "boot-id.instance-id", "demo", "node1", "collector", 0, 12, came, came)


def card(rows):
    (node_entry,), (streams,) = node_entries(rows, NOW), ledger_json(rows, NOW)["nodes"]
    return node_card(node_entry, streams["streams"], NOW)


def test_forks_that_were_sent_and_are_not_stored_are_awaited():
    assert entry(counter_source(1, total=100, lost=10, stored=85))["awaited"] == 5
    # A deeper cgroup of the container has forks and no summary of its own.
    assert entry(counter_source(1, total=100, stored=40), counter_source(2, end=None, stored=60))["awaited"] == 0


def test_forks_in_no_summary_do_not_hide_what_another_stream_awaits():
    ended = counter_source(2, total=50, stored=70)._replace(stream=2)
    pod = entry(counter_source(1, total=100, stored=90), ended)
    assert (pod["awaited"], pod["since"], pod["delivered"]) == (10, 20, 160)


@pytest.mark.parametrize(
    ("of", "gaps", "text"),
    [
        (counter_source(1, total=9, stored=9), [], "nothing"),
        (counter_source(1, total=9, stored=7), [], "2 not arrived yet"),
        (counter_source(1, end=None, stored=7), [], "not summed up yet"),
        (counter_source(1, total=9, lost=2, stored=7), [loss(2)], ""),
    ],
)
def test_a_row_is_complete_only_when_everything_is_stored(of, gaps, text):
    (row,) = pods_model(snapshot(of, losses=gaps), PodListQuery(), NOW)["rows"]
    assert (row["complete"], [badge["text"] for badge in row["missing"]]) == (text, ["2 ring full"] if gaps else [])


def test_a_row_is_not_complete_while_its_share_of_what_the_node_lost_is_unknown():
    away = GapRow("g", 1, "demo", "node1", None, None, "sched_process_fork", "restart", None, True, 1700, NOW - SECOND, NOW)
    (row,) = pods_model(snapshot(counter_source(1, total=9, stored=9), of=ledger(node(), gaps=[away])), PodListQuery(), NOW)[
        "rows"
    ]
    assert (row["complete"], row["missing"], row["share"]) == ("", [], "its share of 1,700 is not known")


@pytest.mark.parametrize(
    ("rows", "state", "verdict"),
    [
        (node(), "ok", "adds up, nothing lost"),
        (node(delivered=7, queued={"ring": 1, "journal": 2}), "ok", "adds up, nothing lost"),
        (node(delivered=6, lost={"ring": 3}, sink_lost={"journal_full": 1}), "warn", "adds up, 4 lost"),
        (node(delivered=6, lost={"ring": 4, "recursion": 9}), "warn", "adds up, 4 lost"),
        (node(captured=15, lost={"ring": 0, "orphaned": 5}), "warn", "adds up, 5 lost"),
        (node(delivered=9), "bad", "does not add up: collector -1"),
        (node(received=NOW - 45 * SECOND), "bad", "silent for 45 s"),
        (node(came=10), "bad", "2 missing, unexplained"),
    ],
)
def test_a_card_shows_whether_the_ledger_adds_up(rows, state, verdict):
    shown = card(ledger(rows))
    assert (shown["state"], shown["verdict"]) == (state, verdict)


@pytest.mark.parametrize(
    ("rows", "came", "state", "missing"),
    [
        (node(), "received 12 of 12", "complete", []),
        (node(came=10, delivered=8, queued={"journal": 2}), "received 10 of 12", "on its way", ["2 on its way"]),
        (node(came=10, lost={"ring": 1}), "received 10 of 12", "missing, unexplained", ["1 ring full", "1 unexplained"]),
    ],
)
def test_a_card_shows_how_many_forks_arrived(rows, came, state, missing):
    shown = card(ledger(rows))
    assert (shown["received"], shown["account"], [chip["text"] for chip in shown["missing"]]) == (came, state, missing)


def test_a_card_shows_how_many_forks_were_never_numbered_and_when():
    away = GapRow("g", 1, "demo", "node1", None, None, "sched_process_fork", "restart", None, True, 1700, NOW - SECOND, NOW)
    rows = ledger(node(), gaps=[away])._replace(
        losses=[LossRow(1, None, None, "sched_process_fork", "restart", None, True, 1700)]
    )
    shown = card(rows)
    assert shown["never"] == "1,700 forks never had a number, so their pods are not known"
    assert [(gap["text"], gap["when"]) for gap in shown["gaps"]] == [
        ("1,700 forks missing: restart", "2027-01-15 07:59:59 to 08:00:00")
    ]
    assert shown["account"] == "complete"


def test_a_card_shows_the_newest_stream_and_those_of_which_something_is_missing():
    rows, (row, stream) = ledger(node()), node()
    for one, came in ((2, 12), (3, 7), (4, 12), (5, 8), (6, 9)):
        rows.nodes.append(row._replace(stream=one, end=NOW - one))
        rows.streams.append(stream._replace(id=one, name=f"boot-id.instance-{one}", received=came))
    shown = card(rows)
    came = [(stream["received"], stream["given"]) for stream in shown["streams"]]
    assert came == [("12", "12"), ("7", "12"), ("8", "12")]
    assert shown["more"] == "3 more in the JSON"


def test_a_node_is_shown_by_its_newest_stream():
    new, old = node(), node()
    rows = ledger(new)
    rows.nodes.insert(0, old[0]._replace(stream=2, end=NOW - SECOND))
    rows.streams.append(old[1]._replace(id=2, name="old"))
    assert [node_entry["stream"] for node_entry in node_entries(rows, NOW)] == ["boot-id.instance-id"]


@given(st.text())
def test_a_visible_name_is_printable_and_unambiguous(name):
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
def test_invisible_characters_are_made_visible(name, shown):
    assert visible(name) == shown


def test_numbers_and_times_are_readable():
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
    assert [time_ago(moment, NOW) for moment in moments] == ["now", "5 s ago", "3 min ago", "60 s ahead of our clock", "never"]


@pytest.mark.parametrize(
    ("name", "uid", "cgroup", "shown"),
    [("cart", "u", 7, "cart"), (None, "u", 7, "u"), (None, None, 7, "cgroup 7"), (None, None, 0, "all other cgroups")],
)
def test_a_pod_is_shown_by_name_else_uid_else_cgroup(name, uid, cgroup, shown):
    assert display_name({"pod": name, "pod_uid": uid, "cgroup": {"id": cgroup}}) == shown


def test_times_become_text_and_back():
    assert parse_stamp(stamp(NOW + 123456789)) == NOW + 123456789
    assert format_span(stamp(NOW), stamp(NOW + 5 * SECOND)) == "2027-01-15 08:00:00 to 08:00:05"
    assert format_span(stamp(NOW), stamp(NOW + 86400 * SECOND)) == "2027-01-15 08:00:00 to 2027-01-16 08:00:00"
    assert format_span(stamp(NOW), None) == "since 2027-01-15 08:00:00"
