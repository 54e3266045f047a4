"""The keys of all objects in the API's answers, so that mypy finds a key that the terminal reads and no answer has."""

from __future__ import annotations

from typing import Literal

__all__ = ["Key"]

Key = Literal[
    "account", "agent", "annotations", "as_of", "at", "awaited", "balanced", "by", "captured", "cgroup", "child",
    "child_ns_pid",
    "child_ns_pids", "child_ns_pids_truncated", "child_ns_tid", "child_pid", "child_tid", "children", "clone", "cluster",
    "comm", "conflicts", "container", "containers", "count", "counts", "cpu", "cpus", "credential", "cut", "declared",
    "deleted_early", "delivered", "depth",
    "descendants", "emitted", "end", "enrichment", "entered", "entity", "error", "event", "explained", "fan_out",
    "filtered", "first", "first_seen", "forks", "from", "gaps", "gid", "given", "heads", "here", "hidden", "history",
    "history_interval", "hold_s", "holes", "host", "id", "ids", "image", "image_id", "interval", "interval_s", "ipc", "k8s",
    "kernel_workers", "key", "kind", "labels", "lag_ms", "last", "last_seen", "latest", "leader_ns_pid", "leader_ns_tid",
    "leader_pid", "leader_start_time", "leader_tid", "ledger", "limit", "listed", "lost", "missing", "missing_elsewhere", "mnt",
    "more", "name", "namespace", "namespaces", "net", "never_numbered", "next", "node", "node_gaps", "nodes", "now",
    "ns_pid", "numbered", "observable", "on_its_way", "others", "pairs", "parent", "parent_cgroup", "parent_comm",
    "parent_entity_id", "parent_ns_pid", "parent_ns_tid", "parent_pid", "parent_process_ns_pid", "parent_process_ns_tid",
    "parent_process_pid", "parent_process_start_time", "parent_process_tid", "parent_start_time", "parent_tid", "path",
    "pid", "pod", "pod_uid", "pods", "pods_in_all", "process_entity_id", "processes", "qos", "queued", "rate", "reason",
    "received", "received_forks", "reported", "roots", "rows", "runtime", "seen", "sequence",
    "service_account", "silent", "since",
    "sink",
    "sinks", "start", "start_time", "state", "step_s", "storm", "storms", "storms_in_all", "stream", "streams", "summed",
    "sums", "suppressed", "table", "threads", "time", "times", "timestamp", "to", "top", "total", "totals", "uid",
    "unexplained",
    "unknown_share", "unlisted", "until", "user", "uts", "workload",
]  # fmt: skip
