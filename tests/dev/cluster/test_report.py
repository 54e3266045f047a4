"""The comparison of `make cluster`: each way in which a name or a count can be other than it should be is found."""

from __future__ import annotations

import pytest

from dev.cluster.report import compare, table, verdict
from dev.cluster.workloads import KINDS, forks_of, pods, qos_of

WHAT = ("shop", "cart-1", "app")
ALL = [(("shop", "p", "c"), f"busybox-{number}p", 1) for number in KINDS if number != "03"]


def event(namespace: str | None = "shop", pod: str | None = "cart-1", container: str | None = "app") -> dict:
    return {
        "k8s": {"namespace": namespace, "pod": pod},
        "container": {"name": container},
        "enrichment": {"state": "unresolved", "by": "cgroup"},
    }


def compared(*events: dict, own: int = 2) -> tuple[list[str], str]:
    """What is wrong with a cart of so many forks, and its line in the table."""
    others = {mark: [event("shop", "p", "c")] for _, mark, _ in ALL}
    rows = compare([*ALL, (WHAT, "busybox-03", own)], {**others, "busybox-03": list(events)})
    (line,) = [one for one in table(rows) if one.startswith("Deployment")]
    return verdict(rows), " ".join(line.split()[3:])


def test_forks_with_the_names_of_their_container_are_right():
    assert compared(event(), event()) == ([], "2 2 0 0 1 of 1")


@pytest.mark.parametrize(
    "other", [event("kube-system"), event(pod="cart-2"), event(container="mesh"), event(None, None, "mesh")]
)
def test_a_fork_with_another_name_is_wrong(other):
    faults, line = compared(event(), other)
    assert line == "2 1 1 0 1 of 1"
    assert "wrong name" in faults[0]


@pytest.mark.parametrize("other", [event(container=None), event(None, None, None), {**event(), "container": None}])
def test_a_fork_without_a_name_is_unresolved_and_no_fault(other):
    assert compared(event(), other) == ([], "2 1 0 1 1 of 1")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_events_than_the_container_counted_is_a_fault(count):
    faults, line = compared(*[event()] * count)
    assert line.endswith("0 of 1")
    assert faults == [f"Deployment, 2 replicas: 2 forks counted, {count} events"]


def test_a_kind_of_which_no_container_ran_is_a_fault():
    assert len(verdict(compare([], {}))) == len(KINDS) == 14


def test_a_container_that_was_restarted_is_compared_with_all_that_it_forked():
    rows = compare([(WHAT, "busybox-07crash", 5)] * 3, {"busybox-07crash": [event()] * 15})
    assert [(row.own, row.equal, row.containers) for row in rows if row.containers] == [(15, 1, 1)]


def test_a_log_without_a_last_count_has_none():
    assert forks_of("mark busybox-03abcde\n") is None
    assert forks_of("mark busybox-03abcdefgh\nforks 12\n") == ("busybox-03abcde", 12)


def test_the_manifests_make_the_pods_that_controllers_would():
    made = {pod.name.split("-")[0]: pod for pod in pods("node1", "2026-11-28T00:00:00Z")}
    assert made.keys() == {"cart", "db", "logs", "report", "crasher", "oneshot", "static", "hooked", "pair", "brief"}
    assert len(list(pods("node1", "2026-11-28T00:00:00Z"))) == len(made) + 1, "the Deployment has two replicas"
    static = made["static"]
    assert static.name == "static-proxy-node1"
    assert static.uid != static.cgroup_uid == static.document["metadata"]["annotations"]["kubernetes.io/config.hash"]
    assert [qos_of(made[name].spec) for name in ("db", "cart", "logs")] == ["guaranteed", "burstable", "besteffort"]
