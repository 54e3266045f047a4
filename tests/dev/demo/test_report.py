"""The report and exit code from the agent's last ledger: what passes, and each complaint."""

import copy

import pytest

from dev.demo import report
from dev.demo.workloads import EndedContainer

CART = EndedContainer("shop", "cart-1-a", "app", "c1" * 32, tasks=12)


def ledger(**changes):
    given = {
        "captured": 100,
        "suppressed": 3,
        "kernel_workers": 2,
        "closed": True,
        "lost": {"ring": 0, "unseen": 0},
        "filtered": {"threads": 30},
        "sinks": {
            "collector": {
                "delivered": 60,
                "queued": {"ring": 1, "waiting": 2, "journal": 4},
                "lost": {},
                "filtered": {"threads": 30},
            }
        },
        "proc_stat": {"attach": [1000, 1004], "now": [1104, 1110]},
        "pods": [
            {
                "namespace": "shop",
                "pod": "cart-1-a",
                "container": "app",
                "container_id": CART.container_id,
                "processes": 10,
                "threads": 2,
                "delivered": {"collector": 9},
            },
            {
                "namespace": None,
                "pod": None,
                "container": None,
                "container_id": None,
                "processes": 60,
                "threads": 28,
                "delivered": {"collector": 51},
            },
        ],
    }
    return {**copy.deepcopy(given), **changes}


def sink(**changes):
    return {"collector": {**ledger()["sinks"]["collector"], **changes}}


def test_a_balanced_ledger_passes_with_its_numbers():
    result = report.from_ledger(ledger(), [CART])
    assert (result["complaints"], result["exit_code"]) == ([], 0)
    assert {name: result[name] for name in report.NUMBERS} == {
        "captured": 100,
        "delivered": 60,
        "queued": 7,
        "lost": 0,
        "suppressed": 3,
        "filtered": 30,
        "proc_stat_delta": 106,
        "proc_stat_bracket": [100, 110],
        "kernel_workers": 2,
        "unseen": 0,
    }


def test_tasks_without_a_tracepoint_are_reported_and_are_no_loss():
    changed_ledger = {"lost": {"ring": 0, "unseen": 5}, "proc_stat": {"attach": [1000, 1004], "now": [1110, 1114]}}
    result = report.from_ledger(ledger(**changed_ledger), [CART])
    assert (result["complaints"], result["unseen"], result["lost"]) == ([], 5, 0)


def test_pods_are_the_named_rows_with_what_was_delivered():
    assert report.from_ledger(ledger(), [])["pods"] == [
        {"namespace": "shop", "pod": "cart-1-a", "container": "app", "processes": 10, "threads": 2, "delivered": 9}
    ]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"closed": False}, "own ledger"),
        ({"captured": 101}, "captured 101, but accounted for 100"),
        ({"sinks": sink(delivered=59)}, "accounted for 99"),
        ({"proc_stat": {"attach": [1000, 1004], "now": [1107, 1110]}}, "/proc/stat says 103 to 110"),
        ({"proc_stat": {"attach": [1000, 1004], "now": [1099, 1101]}}, "/proc/stat says 95 to 101"),
        ({"lost": {"ring": 5, "unseen": 0}, "captured": 105, "kernel_workers": 0}, "lost 5: {'ring': 5}"),
        ({"lost": {"ring": 0, "unseen": 9}}, "unseen are 111, but /proc/stat says 100 to 110"),
        ({"sinks": sink(delivered=58, lost={"rejected": 2})}, "lost 2: {'ring': 0, 'rejected': 2}"),
    ],
)
def test_each_imbalance_is_a_complaint_and_exits_with_3(changes, complaint):
    result = report.from_ledger(ledger(**changes), [CART])
    assert result["exit_code"] == 3
    assert len(result["complaints"]) == 1
    assert complaint in result["complaints"][0]


@pytest.mark.parametrize(
    ("container", "complaint"),
    [
        (EndedContainer("shop", "cart-1-a", "app", "ff" * 32, 1), "is not in the agent's ledger"),
        (EndedContainer("shop", "cart-1-b", "app", CART.container_id, 1), "is not in the agent's ledger"),
        (EndedContainer("shop", "cart-1-a", "app", CART.container_id, 13), "created 13 tasks, but the agent counted 12"),
    ],
)
def test_the_containers_own_counts_are_compared_with_the_agent_s(container, complaint):
    result = report.from_ledger(ledger(), [container])
    assert result["exit_code"] == 3
    assert complaint in result["complaints"][0]


def test_a_pod_without_delivered_forks_is_a_complaint():
    changed_ledger = ledger()
    changed_ledger["pods"][0]["delivered"] = {"collector": 0}
    assert "nothing was delivered" in report.from_ledger(changed_ledger, [CART])["complaints"][0]


def test_a_failure_has_all_keys_with_what_is_known():
    unknown, known = report.failed("no runc", 69), report.failed("the agent died", 70, ledger(), [CART])
    assert set(unknown) >= {*report.NUMBERS, "pods", "error"}
    assert (unknown["captured"], unknown["exit_code"]) == (None, 69)
    assert (known["captured"], known["exit_code"], known["error"]) == (100, 70, "the agent died")


def test_the_line_of_counts_has_the_main_counts():
    assert report.line(ledger(), 3) == "captured 100  delivered 60  queued 7  lost 0  pods at the collector 3"
