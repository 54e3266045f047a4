"""What is missing of a pod: each fork under one reason, and none that may be another pod's."""

from collector.model import CounterSourceRow, GapRow, LossRow, PodRow, TaskCounts
from collector.views.pods.missing import declared_here, missing_elsewhere, missing_here, shared_gaps

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND
NOTHING = TaskCounts(0, 0, 0, 0, 0, 0, 0)


def counter_source(one, *, lost=0, suppressed=0):
    totals = NOTHING._replace(lost=lost, suppressed=suppressed)
    return CounterSourceRow(one, 1, one, 1, "demo", "node1", b"{}", 0, 0, NOW, None, None, None, NOTHING, totals)


def loss(amount, reason="ring_full", *, counter_source=1, sink=None, ours=True, missing="sched_process_fork"):
    return LossRow(1, 1, counter_source, missing, reason, sink, ours, amount)


def test_a_loss_of_the_ring_is_counted_once_though_it_is_reported_twice():
    assert missing_here([counter_source(1, lost=20)], [loss(20)]) == {"ring_full": 20}


def test_a_lost_gap_and_a_lost_summary_make_up_for_each_other():
    assert missing_here([counter_source(1, lost=30), counter_source(2, lost=5)], [loss(20), loss(9, counter_source=2)]) == {
        "ring_full": 39
    }
    assert missing_here([counter_source(1)], [loss(7), loss(2, counter_source=None)]) == {"ring_full": 9}


def test_every_reason_is_counted_apart():
    losses = [
        loss(4, "journal_full", sink="collector"),
        loss(2, "unreadable"),
        loss(3, missing="fork_summary", reason="rejected"),
    ]
    assert missing_here([counter_source(1, lost=1, suppressed=5)], losses) == {
        "fork_summary: rejected": 3,
        "journal_full": 4,
        "ring_full": 1,
        "suppressed": 5,
        "unreadable": 2,
    }
    assert missing_here([counter_source(1)], []) == {}


def test_what_another_sink_lacks_is_not_missing_here():
    losses = [loss(4, "journal_full", sink="siem", ours=False), loss(1, "rejected", sink="siem", ours=False)]
    assert missing_here([counter_source(1)], losses) == {}
    assert missing_elsewhere([*losses, loss(3)]) == {"siem": {"journal_full": 4, "rejected": 1}}


def test_declared_forks_are_those_that_the_kernel_handed_out():
    losses = [loss(100), loss(4, "journal_full", sink="collector"), loss(2, "unreadable"), loss(9, "restart")]
    losses += [loss(8, "journal_full", sink="siem", ours=False), loss(7, "rejected", missing="fork_summary")]
    assert declared_here(losses) == 6


def gap(start, end, **other):
    row = GapRow("id", 1, "demo", "node1", None, None, "sched_process_fork", "restart", None, True, 5, start, end)
    return row._replace(**other)


def test_a_gap_of_a_node_is_shared_by_the_pods_that_may_have_been_running():
    pod = PodRow(1, "demo", "node1", "shop", "cart", "uid", NOW - 1000 * SECOND, NOW - 500 * SECOND)
    during = gap(NOW - 700 * SECOND, NOW - 690 * SECOND)
    before = gap(NOW - 1100 * SECOND, NOW - 1031 * SECOND)
    just_before = gap(NOW - 1100 * SECOND, NOW - 1030 * SECOND)
    after = gap(NOW - 469 * SECOND, NOW)
    just_after = gap(NOW - 470 * SECOND, NOW)
    assert shared_gaps(pod, [during, before, just_before, after, just_after]) == [during, just_before, just_after]
    others = [
        during._replace(node="node2"),
        during._replace(cluster="prod"),
        during._replace(ours=False),
        during._replace(missing="fork_summary"),
        during._replace(amount=0),
    ]
    assert shared_gaps(pod, others) == []
