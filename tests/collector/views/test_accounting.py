"""Received n of n: whatever became of a fork, each number is accounted for once, and nothing passes for more than it is."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.model import LedgerRows, LossRow, NodeRow, StreamRow
from collector.views.nodes.accounting import stream_accounts, sum_accounts

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND


def account(
    given,
    received,
    *,
    ring=0,
    queued=0,
    lost=None,
    filtered=0,
    unnumbered_filter=0,
    told=(),
    before=0,
    sink="collector",
    later=0,
    heard=True,
    recursion=0,
    in_ring=0,
):
    """`told`: (reason, sink, amount) of gaps. `later`: numbers given out after the tally was read."""
    line = {"delivered": received, "queued": {"journal": queued, "ring": in_ring}, "lost": lost or {}}
    line["filtered"] = {"select": filtered, "threads": unnumbered_filter}
    body = {
        "totals": {"emitted": given - ring - later, "lost": ring, "filtered": unnumbered_filter},
        "ledger": {"lost": {"ring": ring, "recursion": recursion}, "sinks": {"collector": line, "siem": line}},
    }
    node = NodeRow(7, "demo", "node1", NOW - 10 * SECOND, NOW, NOW, orjson.dumps(body))
    stream = StreamRow(7, "stream", "demo", "node1", sink, before, given if heard else None, received, received)
    losses = [
        LossRow(7, None, None, "sched_process_fork", reason, other, other in (None, sink), amount)
        for reason, other, amount in told
    ]
    return stream_accounts(LedgerRows([node] if heard else [], [stream], losses, [], [], []))[7]


def words(found):
    return found.state, dict(found.explained), found.on_its_way, found.unexplained


def test_when_all_have_come_nothing_else_matters():
    assert words(account(100, 100, queued=5, told=[("journal_full", "collector", 3)])) == ("complete", {}, 0, 0)


RESTART = [("restart", None, 700)]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"queued": 10}, ("on its way", {}, 10, 0)),
        ({"ring": 10}, ("missing, explained", {"ring_full": 10}, 0, 0)),
        ({"lost": {"journal_full": 10}}, ("missing, explained", {"journal_full": 10}, 0, 0)),
        ({"told": [("journal_full", "collector", 10)]}, ("missing, explained", {"journal_full": 10}, 0, 0)),
        ({"filtered": 10, "unnumbered_filter": 99}, ("missing, explained", {"filtered": 10}, 0, 0)),
        ({"before": 10}, ("missing, explained", {"delivered_before": 10}, 0, 0)),
        ({"told": [("unreadable", None, 10)]}, ("missing, explained", {"unreadable": 10}, 0, 0)),
        ({"later": 10}, ("on its way", {}, 10, 0)),
        ({"later": 3, "in_ring": 7}, ("on its way", {}, 10, 0)),
        ({"later": 3, "in_ring": 2, "queued": 5, "told": RESTART}, ("missing, explained", {"restart": 5}, 5, 0)),
        ({"told": RESTART}, ("missing, unexplained", {}, 0, 10)),
        ({"ring": 3, "lost": {"rejected": 2}, "queued": 4}, ("missing, unexplained", {"ring_full": 3, "rejected": 2}, 4, 1)),
        ({"ring": 3, "queued": 7}, ("missing, explained", {"ring_full": 3}, 7, 0)),
        ({}, ("missing, unexplained", {}, 0, 10)),
    ],
)
def test_what_is_missing_is_explained_by_what_was_said(said, found):
    assert words(account(100, 90, **said)) == found


@pytest.mark.parametrize(
    "said",
    [
        {"told": [("journal_full", "siem", 10)]},
        {"told": [("restart", None, 10), ("orphaned", None, 10)]},
        {"recursion": 10},
        {"unnumbered_filter": 10},
        {"sink": "unheard-of", "queued": 10, "lost": {"journal_full": 10}},
        {"sink": None, "queued": 10, "lost": {"journal_full": 10}},
    ],
)
def test_what_concerns_others_or_never_had_a_number_explains_nothing(said):
    assert words(account(100, 90, **said)) == ("missing, unexplained", {}, 0, 10)


def test_forks_without_numbers_stand_beside():
    found = account(100, 100, told=[("restart", None, 7), ("orphaned", None, 5)], recursion=2)
    assert (found.state, found.unnumbered) == ("complete", {"restart": 7, "orphaned": 5, "recursion": 2})


def test_a_gap_and_the_ledger_tell_of_the_same_forks_and_the_one_that_knows_more_counts():
    told = [("journal_full", "collector", 4)]
    assert account(100, 90, lost={"journal_full": 10}, told=told).explained == {"journal_full": 10}
    told = [("journal_full", "collector", 10)]
    assert account(100, 90, lost={"journal_full": 4}, told=told).explained == {"journal_full": 10}


def test_a_newer_gap_of_the_ring_does_not_explain_older_holes():
    """It may be of numbers that no heartbeat has spoken of."""
    assert words(account(100, 90, ring=4, told=[("ring_full", None, 10)])) == ("missing, unexplained", {"ring_full": 4}, 0, 6)


def test_a_batch_that_was_given_up_and_had_come_is_declared_but_not_missing():
    found = account(100, 98, lost={"journal_full": 10})
    assert words(found) == ("missing, explained", {"journal_full": 2}, 0, 0)
    assert found.declared == {"journal_full": 10}


def test_a_stream_without_a_heartbeat_is_not_judged():
    found = account(0, 50, heard=False, told=[("journal_full", "collector", 3)])
    assert words(found) == ("not summed up yet", {}, 0, 0)
    assert found.declared == {"journal_full": 3}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"ring": 10}, "ring_full"),
        ({"queued": 10}, "on its way"),
        ({}, "unexplained"),
        ({"ring": 5, "lost": {"rejected": 5}}, None),
        ({"ring": 5, "queued": 5}, None),
        ({"ring": 5}, None),
    ],
)
def test_a_holes_reason_is_said_only_where_there_is_but_one(said, reason):
    assert account(100, 90, **said).only_reason == reason


def test_a_node_is_the_sum_of_its_streams_and_as_well_as_the_worst_of_them():
    parts = [account(100, 100), account(50, 45, queued=5), account(30, 20, ring=10), account(0, 5, heard=False)]
    both = sum_accounts(parts)
    assert (both.state, both.given, both.received) == ("missing, explained", 180, 165)
    assert words(both)[1:] == ({"ring_full": 10}, 5, 0)
    assert sum_accounts([*parts, account(10, 9)]).state == "missing, unexplained"
    assert sum_accounts([]).state == "not summed up yet"


amounts = st.integers(0, 40)
reasons = st.sampled_from(["ring_full", "journal_full", "rejected", "restart", "unreadable", "filtered", "recursion", "x"])


@given(
    given=st.integers(0, 100),
    gone=st.integers(0, 100),
    said=st.fixed_dictionaries(
        {
            "ring": amounts,
            "queued": amounts,
            "in_ring": amounts,
            "before": amounts,
            "filtered": amounts,
            "later": amounts,
            "lost": st.dictionaries(reasons, amounts),
            "told": st.lists(st.tuples(reasons, st.sampled_from([None, "collector", "siem"]), amounts)),
        }
    ),
)
def test_whatever_is_said_each_number_is_accounted_for_once(given, gone, said):
    found = account(given, max(0, given - gone), **said)
    assert found.given == found.received + sum(found.explained.values()) + found.on_its_way + found.unexplained
    assert min(found.on_its_way, found.unexplained, *found.explained.values(), 0) >= 0
    assert all(found.explained[reason] <= found.declared[reason] for reason in found.explained)
    assert (found.state == "complete") == (found.missing == 0)
    assert (found.state == "missing, unexplained") == (found.unexplained > 0)
