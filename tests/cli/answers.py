"""JSON answers in the shape of a collector's: pods, a pod, a tree, forks. What a test does not set has ordinary values."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import wire

EXAMPLES = json.loads((Path(wire.__file__).parent / "examples.json").read_text())
HOSTILE = (
    "\x1b[2J\x1b]0;pwned\x07",  # clears the screen, sets the window's title
    "a\nb\r\tc",
    "\x9b31m\x90q\x9c",  # the same in 8 bits
    "\u202etxt.exe\u2066",  # changes the text direction
    "\x7f\x00\x08\x08",
    "[bold red]x[/] [@click=app.quit]y[/]",  # Rich's own markup
    "\\x1b[2J",
    "\u2028\u200b\ufeff\U000e0041",
    '", "forks": [] }',
)


def fork(sequence, *, comm="sh", parent_comm=None, pod="cart-1", namespace="shop", **changes):
    event = deepcopy(EXAMPLES[0])
    event.update(id=f"0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68.0.{sequence}")
    event.update(comm=comm, parent_comm=parent_comm or comm, child_pid=7000 + sequence, child_ns_pid=100 + sequence)
    event["k8s"].update(pod=pod, namespace=namespace)
    event.update(changes)
    return event


def pod(name="cart-1", *, namespace="shop", rate=1.5, processes=541, threads=9, node="node1", missing=None, **changes):
    entry = {
        "cluster": "demo", "node": node, "namespace": namespace, "pod": name, "pod_uid": f"uid-of-{name}", "key": 1,
        "workload": {"kind": "Deployment", "name": "cart"}, "labels": {"app": "cart"}, "cgroup": {"id": 4821, "path": None},
        "qos": "Burstable", "service_account": "default", "processes": processes, "threads": threads, "emitted": processes,
        "filtered": threads, "suppressed": 0, "lost": 0, "entered": 2, "delivered": processes, "awaited": 0, "since": 0,
        "rate": rate, "summed": True, "top": [{"comm": "sh", "forks": processes}], "history": [None] * 27 + [1.0, 0.0, 4.0],
        "history_interval": {"start": "2026-11-22T19:43:40.000000000Z", "end": "2026-11-22T19:48:40.000000000Z"},
        "missing": missing or {}, "missing_elsewhere": {}, "unknown_share": {}, "storm": None, "storms_in_all": 0,
        "first_seen": "2026-11-22T19:43:40.000000000Z", "last_seen": "2026-11-22T19:48:40.000000000Z",
        "containers": [
            {
                "id": "7b6807e75ae5a9e7", "name": "app", "image": "busybox:1.36", "image_id": None, "kind": "app",
                "runtime": "containerd", "processes": processes, "threads": threads, "entered": 2, "rate": rate, "summed": True,
            }
        ],
    }  # fmt: skip
    return entry | changes


STORM = {
    "storm": 1,
    "state": "now",
    "interval": {"start": "2026-11-22T19:47:30.000000000Z", "end": None},
    "as_of": "2026-11-22T19:47:31.000000000Z",
    "limit": 2000,
    "hold_s": 5,
    "counts": {"processes": 902, "threads": 2, "suppressed": 902},
}
GAP = {
    "id": "x", "missing": "sched_process_fork", "reason": "ring_full", "sink": None, "here": True, "count": 214,
    "interval": {"start": "2026-11-22T19:45:00.000000000Z", "end": "2026-11-22T19:45:10.000000000Z"},
}  # fmt: skip


def detail(entry, **changes):
    return {**entry, "latest": [], "storms": [], "gaps": [], "node_gaps": [], "others": []} | changes


def pods(*entries, host=(), nodes=(), in_all=None):
    return {
        "pods": list(entries),
        "pods_in_all": len(entries) if in_all is None else in_all,
        "host": list(host),
        "nodes": list(nodes),
    }


def node(pid, comm="sh", children=(), *, hidden=0, seen=True, container="app", forks=None, descendants=None):
    below = sum(1 + child["descendants"] for child in children) + hidden
    return {
        "entity": f"{pid:016x}", "comm": comm, "pid": pid, "ns_pid": pid - 6000, "container": container,
        "time": f"2026-11-22T19:48:{pid % 60:02d}.118291004Z" if seen else None, "seen": seen,
        "forks": len(children) if forks is None else forks, "descendants": below if descendants is None else descendants,
        "depth": 0, "hidden": hidden, "children": list(children),
    }  # fmt: skip


def tree(*roots, pairs=(), cut=False, processes=None):
    return {
        "from": "2026-11-22T18:48:30.000000000Z", "to": "2026-11-22T19:48:30.000000000Z", "roots": list(roots),
        "pairs": list(pairs), "processes": sum(1 + root["descendants"] for root in roots) if processes is None else processes,
        "depth": 2, "fan_out": 3, "cut": cut,
    }  # fmt: skip
