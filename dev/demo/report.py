"""From the agent's last ledger to the demo's report and its exit code. Pure: the only module that knows the ledger's keys."""

from collections.abc import Sequence
from typing import Any

from dev.demo.workloads import Ran

Json = dict[str, Any]

FINE, LOST, UNAVAILABLE, NOT_ROOT, BROKEN = 0, 3, 69, 77, 70
SINK = "collector"  # the demo's only sink
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


def failed(error: str, exit_code: int, ledger: Json | None = None, ran: Sequence[Ran] = ()) -> Json:
    """The report of a demo that went wrong: all keys, as far as they are known."""
    empty: Json = {**dict.fromkeys(NUMBERS), "pods": [], "complaints": []}
    return {**empty, **(from_ledger(ledger, ran) if ledger is not None else {}), "error": error, "exit_code": exit_code}


def from_ledger(ledger: Json, ran: Sequence[Ran]) -> Json:
    """Counts of forks (processes and threads) from the attach on.

    `captured = delivered + queued + lost + suppressed + filtered` is checked by `complaints`, and so is
    `proc_stat_bracket` <= captured + kernel_workers + unseen: [at least, at most] what /proc/stat's `processes` grew by.
    `complaints` describes each difference; an empty list is a pass.
    """
    sink, before = ledger["sinks"][SINK], _lost(ledger)
    (attach_before, attach_after), (now_before, now_after) = ledger["proc_stat"]["attach"], ledger["proc_stat"]["now"]
    report: Json = {
        "captured": ledger["captured"],
        "delivered": sink["delivered"],
        "queued": sum(sink["queued"].values()),
        "lost": sum(before.values()) + sum(sink["lost"].values()),
        "suppressed": ledger["suppressed"],
        "filtered": sum(sink["filtered"].values()),
        "kernel_workers": ledger["kernel_workers"],
        "unseen": ledger["lost"]["unseen"],
        "proc_stat_delta": now_after - attach_after,
        "proc_stat_bracket": [now_before - attach_after, now_after - attach_before],
        "lost_by_reason": {**before, **sink["lost"]},
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
    complaints = [*_unbalanced(ledger, report), *_unseen(ledger, ran)]
    return {**report, "complaints": complaints, "exit_code": LOST if complaints else FINE}


def line(ledger: Json, collector_pods: int) -> str:
    """One line of live counts."""
    sink = ledger["sinks"][SINK]
    queued, lost = sum(sink["queued"].values()), sum(_lost(ledger).values()) + sum(sink["lost"].values())
    counts = {"captured": ledger["captured"], "delivered": sink["delivered"], "queued": queued, "lost": lost}
    return "  ".join(f"{name} {count:,}" for name, count in counts.items()) + f"  pods at the collector {collector_pods}"


def _lost(ledger: Json) -> Json:
    """Before the sink, by reason. Unseen tasks could not be captured: the kernel called no tracepoint for them."""
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


def _unseen(ledger: Json, ran: Sequence[Ran]) -> list[str]:
    """Compares the demo's containers with the agent's counts of them."""
    reported = {pod["container_id"]: pod for pod in ledger["pods"]}
    complaints = []
    for one in ran:
        container = f"{one.namespace}/{one.pod}/{one.container}"
        pod = reported.get(one.container_id)
        if pod is None or (pod["namespace"], pod["pod"], pod["container"]) != (one.namespace, one.pod, one.container):
            complaints.append(f"{container} ran, but the agent does not know it")
        elif pod["processes"] + pod["threads"] < one.tasks:
            complaints.append(f"{container} made {one.tasks} tasks, but the agent counted {pod['processes'] + pod['threads']}")
        elif not pod["delivered"].get(SINK):
            complaints.append(f"{container}: nothing was delivered")
    return complaints
