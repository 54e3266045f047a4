"""Turns the agent's last ledger into the demo's report and its exit code. Pure."""

from collections.abc import Sequence
from typing import Any

from dev.demo.workloads import EndedContainer

Json = dict[str, Any]

OK, LOST, UNAVAILABLE, NOT_ROOT, FAILED = 0, 3, 69, 77, 70
SINK = "collector"  # the name of the demo's only sink
NUMBERS = (
    "captured",
    "delivered",
    "queued",
    "lost",
    "suppressed",
    "filtered",
    "proc_stat_delta",
    "proc_stat_bracket",
    "kernel_workers",
    "unseen",
)


def failed(error: str, exit_code: int, ledger: Json | None = None, containers: Sequence[EndedContainer] = ()) -> Json:
    """The report of a demo that failed: all keys, with the values that are known."""
    empty: Json = {**dict.fromkeys(NUMBERS), "pods": [], "complaints": []}
    return {**empty, **(from_ledger(ledger, containers) if ledger is not None else {}), "error": error, "exit_code": exit_code}


def from_ledger(ledger: Json, containers: Sequence[EndedContainer]) -> Json:
    """Counts of forks (processes and threads) since the attach.

    They must satisfy `captured = delivered + queued + lost + suppressed + filtered`, and captured + kernel_workers + unseen
    must be within `proc_stat_bracket`, the [least, most] by which /proc/stat's `processes` grew. `complaints` lists what does
    not hold; an empty list is a pass.
    """
    sink, lost_before_sink = ledger["sinks"][SINK], _lost_before_sink(ledger)
    (attach_before, attach_after), (now_before, now_after) = ledger["proc_stat"]["attach"], ledger["proc_stat"]["now"]
    report: Json = {
        "captured": ledger["captured"],
        "delivered": sink["delivered"],
        "queued": sum(sink["queued"].values()),
        "lost": sum(lost_before_sink.values()) + sum(sink["lost"].values()),
        "suppressed": ledger["suppressed"],
        "filtered": sum(sink["filtered"].values()),
        "kernel_workers": ledger["kernel_workers"],
        "unseen": ledger["lost"]["unseen"],
        "proc_stat_delta": now_after - attach_after,
        "proc_stat_bracket": [now_before - attach_after, now_after - attach_before],
        "lost_by_reason": {**lost_before_sink, **sink["lost"]},
        "filtered_by_reason": sink["filtered"],
        "pods": [
            {
                **{key: pod[key] for key in ("namespace", "pod", "container", "processes", "threads")},
                "delivered": pod["delivered"].get(SINK, 0),
            }
            for pod in ledger["pods"]
            if pod["namespace"] is not None
        ],
    }
    complaints = [*_unbalanced(ledger, report), *_unaccounted_containers(ledger, containers)]
    return {**report, "complaints": complaints, "exit_code": LOST if complaints else OK}


def line(ledger: Json, collector_pods: int) -> str:
    """One line of live counts."""
    sink = ledger["sinks"][SINK]
    queued, lost = sum(sink["queued"].values()), sum(_lost_before_sink(ledger).values()) + sum(sink["lost"].values())
    counts = {"captured": ledger["captured"], "delivered": sink["delivered"], "queued": queued, "lost": lost}
    return "  ".join(f"{name} {count:,}" for name, count in counts.items()) + f"  pods at the collector {collector_pods}"


def _lost_before_sink(ledger: Json) -> Json:
    """Forks lost before the sink, by reason. `unseen` is left out: the kernel called no tracepoint for them."""
    return {reason: count for reason, count in ledger["lost"].items() if reason != "unseen"}


def _unbalanced(ledger: Json, report: Json) -> list[str]:
    complaints = []
    if not ledger["closed"]:
        complaints.append("the agent's own ledger does not add up")
    accounted = sum(report[name] for name in ("delivered", "queued", "lost", "suppressed", "filtered"))
    if report["captured"] != accounted:
        complaints.append(f"captured {report['captured']}, but accounted for {accounted}")
    low, high = report["proc_stat_bracket"]
    if not low <= (counted := report["captured"] + report["kernel_workers"] + report["unseen"]) <= high:
        complaints.append(f"captured, kernel workers and unseen are {counted}, but /proc/stat says {low} to {high}")
    if report["lost"]:
        complaints.append(f"lost {report['lost']}: {report['lost_by_reason']}")
    return complaints


def _unaccounted_containers(ledger: Json, containers: Sequence[EndedContainer]) -> list[str]:
    """Compares the counts that the demo's containers took themselves with the agent's."""
    reported = {pod["container_id"]: pod for pod in ledger["pods"]}
    complaints = []
    for ended in containers:
        name = f"{ended.namespace}/{ended.pod}/{ended.container}"
        pod = reported.get(ended.container_id)
        if pod is None or (pod["namespace"], pod["pod"], pod["container"]) != (ended.namespace, ended.pod, ended.container):
            complaints.append(f"{name} ran, but is not in the agent's ledger")
        elif pod["processes"] + pod["threads"] < ended.tasks:
            complaints.append(f"{name} created {ended.tasks} tasks, but the agent counted {pod['processes'] + pod['threads']}")
        elif not pod["delivered"].get(SINK):
            complaints.append(f"{name}: nothing was delivered")
    return complaints
