"""Received n of n: each number of a stream is accounted for exactly once, whatever became of its fork."""

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
    gaps=(),
    before=0,
    before_sink=0,
    sink="collector",
    later=0,
    has_heartbeat=True,
    recursion=0,
    in_ring=0,
):
    """`gaps`: (reason, sink, amount) of gaps. `later`: numbers given out after the agent read its counters."""
    line = {"delivered": received, "queued": {"journal": queued, "ring": in_ring}, "lost": lost or {}}
    line["filtered"] = {"select": filtered, "threads": unnumbered_filter, "before_sink": before_sink}
    body = {
        "totals": {"emitted": given - ring - later, "lost": ring, "filtered": unnumbered_filter},
        "ledger": {"lost": {"ring": ring, "recursion": recursion}, "sinks": {"collector": line, "siem": line}},
    }
    node = NodeRow(7, "demo", "node1", NOW - 10 * SECOND, NOW, NOW, orjson.dumps(body))
    stream = StreamRow(7, "stream", "demo", "node1", sink, before, given if has_heartbeat else None, received, received)
    losses = [
        LossRow(7, None, None, "sched_process_fork", reason, other, other in (None, sink), amount)
        for reason, other, amount in gaps
    ]
    return stream_accounts(LedgerRows([node] if has_heartbeat else [], [stream], losses, [], [], []))[7]


def words(found):
    return found.state, dict(found.explained), found.on_its_way, found.unexplained


def test_a_stream_is_complete_when_all_numbers_arrived():
    assert words(account(100, 100, queued=5, gaps=[("journal_full", "collector", 3)])) == ("complete", {}, 0, 0)


RESTART = [("restart", None, 700)]


@pytest.mark.parametrize(
    ("case", "found"),
    [
        ({"queued": 10}, ("on its way", {}, 10, 0)),
        ({"ring": 10}, ("missing, explained", {"ring_full": 10}, 0, 0)),
        ({"lost": {"journal_full": 10}}, ("missing, explained", {"journal_full": 10}, 0, 0)),
        ({"gaps": [("journal_full", "collector", 10)]}, ("missing, explained", {"journal_full": 10}, 0, 0)),
        ({"filtered": 10, "unnumbered_filter": 99}, ("missing, explained", {"filtered": 10}, 0, 0)),
        ({"before": 10}, ("complete", {"delivered_before": 10}, 0, 0)),
        ({"before_sink": 10, "unnumbered_filter": 99}, ("complete", {"before_sink": 10}, 0, 0)),
        ({"before_sink": 4, "filtered": 6}, ("missing, explained", {"before_sink": 4, "filtered": 6}, 0, 0)),
        ({"before_sink": 4, "queued": 9}, ("on its way", {"before_sink": 4}, 6, 0)),
        ({"before": 4, "before_sink": 3}, ("missing, unexplained", {"delivered_before": 4, "before_sink": 3}, 0, 3)),
        ({"gaps": [("unreadable", None, 10)]}, ("missing, explained", {"unreadable": 10}, 0, 0)),
        ({"later": 10}, ("on its way", {}, 10, 0)),
        ({"later": 3, "in_ring": 7}, ("on its way", {}, 10, 0)),
        ({"later": 3, "in_ring": 2, "queued": 5, "gaps": RESTART}, ("missing, explained", {"restart": 5}, 5, 0)),
        ({"gaps": RESTART}, ("missing, unexplained", {}, 0, 10)),
        ({"ring": 3, "lost": {"rejected": 2}, "queued": 4}, ("missing, unexplained", {"ring_full": 3, "rejected": 2}, 4, 1)),
        ({"ring": 3, "queued": 7}, ("missing, explained", {"ring_full": 3}, 7, 0)),
        ({}, ("missing, unexplained", {}, 0, 10)),
    ],
)
def test_missing_numbers_are_explained_by_declared_losses(case, found):
    assert words(account(100, 90, **case)) == found


@pytest.mark.parametrize(
    "case",
    [
        {"gaps": [("journal_full", "siem", 10)]},
        {"gaps": [("restart", None, 10), ("orphaned", None, 10)]},
        {"recursion": 10},
        {"unnumbered_filter": 10},
        {"sink": "unheard-of", "queued": 10, "lost": {"journal_full": 10}},
        {"sink": None, "queued": 10, "lost": {"journal_full": 10}},
    ],
)
def test_losses_of_other_sinks_and_unnumbered_forks_explain_nothing(case):
    assert words(account(100, 90, **case)) == ("missing, unexplained", {}, 0, 10)


def test_forks_without_numbers_are_listed_apart():
    found = account(100, 100, gaps=[("restart", None, 7), ("orphaned", None, 5)], recursion=2)
    assert (found.state, found.unnumbered) == ("complete", {"restart": 7, "orphaned": 5, "recursion": 2})


def test_of_a_gap_and_the_ledger_the_higher_number_counts():
    gaps = [("journal_full", "collector", 4)]
    assert account(100, 90, lost={"journal_full": 10}, gaps=gaps).explained == {"journal_full": 10}
    gaps = [("journal_full", "collector", 10)]
    assert account(100, 90, lost={"journal_full": 4}, gaps=gaps).explained == {"journal_full": 10}


def test_a_newer_gap_of_the_ring_does_not_explain_older_missing_numbers():
    """The gap may be of numbers that no heartbeat has reported yet."""
    assert words(account(100, 90, ring=4, gaps=[("ring_full", None, 10)])) == ("missing, unexplained", {"ring_full": 4}, 0, 6)


def test_a_batch_that_was_given_up_after_it_arrived_is_declared_but_not_missing():
    found = account(100, 98, lost={"journal_full": 10})
    assert words(found) == ("missing, explained", {"journal_full": 2}, 0, 0)
    assert found.declared == {"journal_full": 10}


def test_a_stream_without_a_heartbeat_is_not_summed_up_yet():
    found = account(0, 50, has_heartbeat=False, gaps=[("journal_full", "collector", 3)])
    assert words(found) == ("not summed up yet", {}, 0, 0)
    assert found.declared == {"journal_full": 3}


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ({"ring": 10}, "ring_full"),
        ({"queued": 10}, "on its way"),
        ({}, "unexplained"),
        ({"ring": 5, "lost": {"rejected": 5}}, None),
        ({"ring": 5, "queued": 5}, None),
        ({"ring": 5}, None),
    ],
)
def test_missing_numbers_have_a_reason_only_where_there_is_exactly_one(case, reason):
    assert account(100, 90, **case).only_reason == reason


def test_a_nodes_account_is_the_sum_of_its_streams_with_the_worst_state():
    parts = [account(100, 100), account(50, 45, queued=5), account(30, 20, ring=10), account(0, 5, has_heartbeat=False)]
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
    case=st.fixed_dictionaries(
        {
            "ring": amounts,
            "queued": amounts,
            "in_ring": amounts,
            "before": amounts,
            "before_sink": amounts,
            "filtered": amounts,
            "later": amounts,
            "lost": st.dictionaries(reasons, amounts),
            "gaps": st.lists(st.tuples(reasons, st.sampled_from([None, "collector", "siem"]), amounts)),
        }
    ),
)
def test_each_number_is_accounted_for_exactly_once(given, gone, case):
    found = account(given, max(0, given - gone), **case)
    assert found.given == found.received + sum(found.explained.values()) + found.on_its_way + found.unexplained
    assert min(found.on_its_way, found.unexplained, *found.explained.values(), 0) >= 0
    assert all(found.explained[reason] <= found.declared[reason] for reason in found.explained)
    assert (found.state == "complete") == (found.missing == found.before)
    assert (found.state == "missing, unexplained") == (found.unexplained > 0)
