"""Strategies for forks that are possible on a real node, and for the agent's own events as wire.events defines them.

`model_strategies` has any values; here pids are below the kernel's limit, sequences have 63 bits, and a fork with a leader is a
thread.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import strategies as st

from agent.model import state_of
from agent.sinks.encoders.native import NativeEncoder, k8s_fields
from tests.agent.sinks.model_strategies import attributions, forks, hostile, texts

STREAM = "0ac846b9-54b9-46db-ad41-e0a5f64de594.9f3c51d2a7e04b68"
NAMESPACES = ("pid", "mnt", "net", "user", "uts", "ipc", "cgroup")
PIDS = 2**22  # PID_MAX_LIMIT
COUNTS = ("processes", "threads", "emitted", "filtered", "suppressed", "lost", "entered")
UIDS = ("a87d9c0e-19ae-4043-83a2-abda8b90c98e", "5c1ab4e2d7f3a9b8c6d5e4f3a2b1c0d9")  # the second: a static pod's
IMAGES = (None, "sha256:" + "7" * 64, "docker-pullable://busybox@sha256:00")

counts = st.fixed_dictionaries({name: st.integers(0, 2**40) for name in COUNTS})
reasons = st.dictionaries(st.sampled_from(["ring", "recursion", "journal_full", "rejected"]), st.integers(0, 2**40))
# The API server allows neither `:` nor `=` in the key of a label.
keys = (hostile | st.sampled_from(["app", "app.x", "app_x"])).map(lambda key: key.replace(":", "").replace("=", ""))


def task(task):
    numbers = (number if number is None else number % PIDS for number in task[:4])
    return task._make([*numbers, *task[4:]])


def parent_context(parent_context):
    leader = parent_context.leader and task(parent_context.leader)
    return replace(
        parent_context, parent=task(parent_context.parent), parent_process=task(parent_context.parent_process), leader=leader
    )


@st.composite
def real_attributions(draw):
    attribution = draw(attributions)
    if attribution.pod:
        pod = replace(
            attribution.pod,
            labels=draw(st.dictionaries(keys, hostile, max_size=4)),
            annotations=draw(st.dictionaries(keys, hostile, max_size=2)),
        )
        attribution = replace(attribution, pod=pod)
    if attribution.container:
        attribution = replace(attribution, container=replace(attribution.container, image_id=draw(st.sampled_from(IMAGES))))
    return replace(attribution, pod_uid=draw(st.sampled_from(UIDS) | texts))


@st.composite
def real_forks(draw):
    fork = draw(forks())
    return fork._replace(
        sequence=fork.sequence % 2**63,
        thread=fork.parent_context.leader is not None,
        child=task(fork.child),
        chain=tuple(number if number is None else number % PIDS for number in fork.chain),
        parent_context=parent_context(fork.parent_context),
        attribution=draw(real_attributions()),
    )


@st.composite
def times(draw):
    ns = draw(st.integers(0, 4 * 10**18))
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}Z"


@st.composite
def agent_events(draw):
    """An event of any kind, always with the keys of wire.events; tests/wire compares the examples with them."""
    kind = draw(st.sampled_from(["fork_summary", "fork_storm", "gap", "node_summary"]))
    attribution = draw(real_attributions())
    event = {
        "event": kind,
        "timestamp": draw(times()),
        "interval": {"start": draw(times()), "end": draw(times())},
        **k8s_fields(attribution, "demo", "node1"),
        "enrichment": {"state": state_of(attribution, None), "by": attribution.by, "lag_ms": 0},
    }
    if draw(st.booleans()):
        event["cgroup"] = None
    numbers = {"counts": draw(counts), "totals": draw(counts)}
    match kind:
        case "fork_summary":
            return event | numbers | {"id": f"{STREAM}.summary.4821.64"}
        case "fork_storm":
            phase = draw(st.sampled_from(["start", "stop"]))
            number = draw(st.integers(1, 2**40))
            reason = draw(st.sampled_from(["limit", "ring", "uniqueness"]))
            storm = {"reason": reason, "phase": phase, "storm": number, "limit": draw(st.integers(1, 2**30)), "hold_s": 5}
            return event | numbers | storm | {"id": f"{STREAM}.storm.4790.{number}.{phase}"}
        case "gap":
            missing = {
                "missing": draw(st.sampled_from(["sched_process_fork", "fork_summary"])),
                "count": draw(st.integers(1, 2**40)),
            }
            lost = {"reason": draw(st.sampled_from(["ring_full", "rejected"])), "sink": draw(st.none() | st.just("siem"))}
            return event | missing | lost | {"id": f"{STREAM}.gap.siem.rejected.4821.214"}
    sink = st.fixed_dictionaries({"delivered": st.integers(0, 2**40), "queued": reasons, "lost": reasons, "filtered": reasons})
    ledger = {
        **dict.fromkeys(("captured", "suppressed", "kernel_workers"), draw(st.integers(0, 2**40))),
        "lost": draw(reasons),
        "sinks": draw(st.dictionaries(st.sampled_from(["collector", "siem-2"]), sink)),
    }
    for key in ("cgroup", "container", "enrichment"):
        del event[key]
    event["k8s"] = {name: value if name in ("cluster", "node") else None for name, value in event["k8s"].items()}
    event["k8s"].pop("annotations", None)
    return event | numbers | {
        "id": f"{STREAM}.node.64",
        "agent": draw(st.fixed_dictionaries({"version": texts.filter(bool), "kernel": hostile, "started": times()})),
        "lag_ms": draw(st.integers(0, 2**40)),
        "heads": {str(cpu): head for cpu, head in enumerate(draw(st.lists(st.integers(0, 2**63 - 1), max_size=3)))},
        "ledger": ledger,
    }  # fmt: skip


def native_forks(forks):
    """The same forks in the native schema."""
    return [json.loads(line) for line in NativeEncoder("demo", "node1").forks(STREAM, forks)]


def native_labels(listed, separator):
    return None if listed is None else dict(one.split(separator, 1) for one in listed)
