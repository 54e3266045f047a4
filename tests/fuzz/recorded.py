"""Real inputs to begin with: the wire's examples, and a real cluster's objects."""

from __future__ import annotations

from pathlib import Path

import orjson

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests/data/kubernetes-1.36"
EVENTS = [orjson.dumps(event) for event in orjson.loads((ROOT / "wire/examples.json").read_bytes())]
WATCHED = (RECORDED / "watch-lifecycle.ndjson").read_bytes().splitlines()[::12]
PODS = [orjson.dumps(pod) for pod in orjson.loads((RECORDED / "list-running.json").read_bytes())["items"]]
CGROUPS = sorted(
    {line.split(":", 2)[2] for one in orjson.loads((RECORDED / "cgroups-running.json").read_bytes()) for line in one["cgroup"]}
)


def is_one_line(text: str) -> bool:
    """A log or a terminal shows it as it is."""
    return text.isprintable()
