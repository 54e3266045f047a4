"""One run: the chart installed in one privilege mode, the workloads beside it, and what the collector has of them."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from dev.cluster.api_server import ApiServer
from dev.cluster.installation import NAMESPACE, NODE, STATUS, Installation
from dev.cluster.node.container import until
from dev.cluster.node.containerd import GATEWAY, Node
from dev.cluster.render import Render
from dev.cluster.report import Row, compare
from dev.cluster.stand_in import Counted, StandIn

__all__ = ["MODES", "Measured", "compared", "measure", "render"]

MODES: Final = ("default", "least-privilege")  # values files of the chart's: privileged, and two capabilities
_KUBERNETES: Final = "1.36.0"  # the version that the recordings are of
_START_S: Final = 60.0  # a busy machine compiles for 15
_ARRIVE_S: Final = 30.0  # for the last forks: the agent waits 5 s for names, and a second for a batch


@dataclass(frozen=True)
class Measured:
    """One mode's. Seconds until the collector had the first event: from the agent's start, and from the install's."""

    mode: str
    rows: list[Row]
    first_event_s: float
    from_install_s: float


def render(root: Path, mode: str, values: Mapping[str, Any]) -> Render:
    """The chart, as helm renders it."""
    chart = root / "charts/forklore"
    line = [
        root / ".cache/bin/helm", "template", "forklore", chart, "--namespace", NAMESPACE, "--kube-version", _KUBERNETES,
        "--values", chart / f"ci/{mode}-values.yaml", "--values", "-",
    ]  # fmt: skip
    text = yaml.safe_dump(dict(values))
    return Render(subprocess.run(line, input=text, capture_output=True, text=True, check=True, timeout=60).stdout)


def measure(here: Node, images: Path, root: Path, mode: str, pins: Path) -> Measured:
    """`images`: the folder of the archives. `pins`: of this run alone."""
    with tempfile.TemporaryDirectory(prefix="forklore-pods-", dir="/run") as folder, ApiServer(GATEWAY) as api:
        Path(folder).chmod(0o755)
        one = Installation(here, api, Path(folder), lambda name: here.have(images / f"{name}.tar"))
        rendered = render(
            root, mode, {"collector": {"enabled": True}, "agent": {"pin": str(pins), "stateDir": f"{folder}/state"}}
        )
        for name in ("agent", "collector"):
            here.have(images / f"{name}.tar")  # as on a node that has pulled them
        began = time.monotonic()
        try:
            one.make_certificates(rendered)
            one.start_collector(rendered)
            started = time.monotonic()
            rows, first = compared(one, rendered)
        finally:
            one.close()
        return Measured(mode, rows, first - started, first - began)


def compared(one: Installation, rendered: Render) -> tuple[list[Row], float]:
    """With a collector that is ready: starts the agent and the workloads, and compares. Second: when the first event was there.
    Raises RuntimeError when the agent's end is not 0."""
    agent = one.run_agent(one.agent_pod(rendered))
    until(
        lambda: one.read("/v1/forks?limit=1")["forks"],
        lambda: f"an event is at the collector: {agent.log_text()}",
        _START_S,
    )
    first = time.monotonic()
    until(lambda: agent.ready(STATUS), "the agent is ready", _START_S)
    with StandIn(one.node, one.api, one.folder, NODE) as stand_in:
        stand_in.start()
        counted = stand_in.finish()
        events = _events(one, counted)
    if agent.stop()[0]:
        raise RuntimeError(f"the agent ended with an error: {agent.log_text()}")
    return compare([(each.what, each.forks.mark, each.forks.count) for each in counted], events), first


def _events(one: Installation, counted: list[Counted]) -> dict[str, list[Mapping[str, Any]]]:
    """By mark; waits for as many as were counted, in vain if some are missing."""
    wanted: dict[str, int] = {}
    for each in counted:
        wanted[each.forks.mark] = wanted.get(each.forks.mark, 0) + each.forks.count
    found: dict[str, list[Mapping[str, Any]]] = {}
    deadline = time.monotonic() + _ARRIVE_S
    for mark, count in wanted.items():
        while len(found.setdefault(mark, [])) < count and time.monotonic() < deadline:
            found[mark] = _export(one, mark)
            time.sleep(0.2)
        found[mark] = found[mark] or _export(one, mark)
    return found


def _export(one: Installation, mark: str) -> list[Mapping[str, Any]]:
    text: str = one.read(f"/v1/forks?format=ndjson&kind=process&parent_comm={mark}")
    return [json.loads(line) for line in text.splitlines()]
