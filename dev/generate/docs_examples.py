"""The examples in docs/siem/examples/, made by the encoders: `.venv/bin/python dev/generate/docs_examples.py` writes them.

A test compares them. `<schema>-<kind>.json` is the event of that kind in wire/examples.json; of a storm, its start.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from agent.model import Attribution, Container, Fork, ParentContext, Pod, Task  # noqa: E402  the path comes first
from agent.sinks.encoders.ecs import EcsEncoder  # noqa: E402
from agent.sinks.encoders.encoder import Encoder  # noqa: E402
from agent.sinks.encoders.ocsf import OcsfEncoder  # noqa: E402
from wire.events import FORK  # noqa: E402
from wire.ids import parse_fork_id  # noqa: E402

FOLDER = ROOT / "docs/siem/examples"


def nanoseconds(text: str) -> int:
    """RFC 3339, UTC, with nine digits after the second -> ns since 1970."""
    second = datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
    return int(second.timestamp()) * 1_000_000_000 + int(text[20:29])


def task(event: dict[str, Any], prefix: str, start: str, entity: str | None) -> Task:
    numbers = (event[f"{prefix}_{name}"] for name in ("tid", "ns_tid", "pid", "ns_pid"))
    return Task(*numbers, nanoseconds(event[start]), entity)


def attribution_of(event: dict[str, Any]) -> Attribution:
    k8s = event["k8s"]
    pod = Pod(
        uid=k8s["pod_uid"],
        namespace=k8s["namespace"],
        name=k8s["pod"],
        aliases=frozenset([k8s["pod_uid"]]),
        labels=k8s["labels"],
        workload=(k8s["workload"]["kind"], k8s["workload"]["name"]),
        service_account=k8s["service_account"],
        qos=k8s["qos"],
    )
    found = event["enrichment"]
    cgroup = event["cgroup"]
    return Attribution(cgroup["id"], cgroup["path"], found["state"], found["by"], pod.uid, pod, Container(**event["container"]))


def fork_of(event: dict[str, Any]) -> Fork:
    """The Fork of a native event, of a process in a named container."""
    name = parse_fork_id(event["id"])
    entity = event["parent_entity_id"]
    parent_context = ParentContext(
        parent=task(event, "parent", "parent_start_time", entity),
        parent_process=task(event, "parent_process", "parent_process_start_time", entity),
        leader=None,
        clone=tuple(event["clone"]),
        comm=event["comm"],
        parent_comm=event["parent_comm"],
        uid=event["uid"],
        gid=event["gid"],
        namespaces=tuple(event["namespaces"].values()),
    )
    return Fork(
        sequence=name.sequence,
        time=nanoseconds(event["timestamp"]),
        cpu=name.cpu,
        thread=False,
        child=task(event, "child", "start_time", event["process_entity_id"]),
        chain=tuple(event["child_ns_pids"]),
        levels=len(event["child_ns_pids"]),
        parent_context=parent_context,
        attribution=attribution_of(event),
        parent_attribution=None,
        lag_ms=None,
        counted=event["cgroup"]["id"],
    )


def examples() -> dict[str, str]:
    """File name -> its text."""
    natives = json.loads((ROOT / "wire/examples.json").read_text(encoding="utf-8"))
    schemas: dict[str, Encoder] = {
        "ecs": EcsEncoder("demo", "node1", "0.1.0", "logs-forklore.process-default"),
        "ocsf": OcsfEncoder("demo", "node1", "0.1.0"),
    }
    made: dict[str, str] = {}
    for schema, encoder in schemas.items():
        for event in natives:
            kind = event["event"]
            fork = kind == FORK
            item = encoder.forks(parse_fork_id(event["id"]).stream, [fork_of(event)])[0] if fork else encoder.event(event)
            made.setdefault(f"{schema}-{kind}.json", json.dumps(json.loads(item), indent=1, ensure_ascii=False) + "\n")
    return made


if __name__ == "__main__":
    for name, text in examples().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
