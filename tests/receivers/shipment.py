"""One run of the real agent, with real forks, to all receivers at once: what each of them has in the end, and the ledger.

Two pods: `shop/cart-1` forks, starts threads and storms, `other/noise-1` only forks. What was sent is what a sink that speaks
plain HTTP got of the same agent; everything else is compared with that.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isal import igzip

from dev.demo.containers.runtime import Container, Runtime
from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster
from dev.demo.kubernetes.pod_objects import Owner, Pod, scheduled
from tests.faults import ByBody, Fault, FaultProxy, Forward, Reset, Say
from tests.kernel.agent_process import Agent
from tests.kernel.conftest import Receiver
from tests.kernel.test_containers import FORK_23, SCRIPT, THREADS_23

from .conftest import TOKEN
from .documents import Json
from .processes import Osmem, Tenzir, until

__all__ = ["HOSTILE", "Shipment", "ship"]

HOSTILE = "\x01<b>\"\n\ufffd'"  # a process' name, as every receiver must have it
_NAMED = """
assert ctypes.CDLL(None).prctl(15, b'\\x01<b>"\\n\\xff\\'', 0, 0, 0) == 0  # PR_SET_NAME
"""
# More than `storm_limit` a second, for two seconds.
_STORM = """
start = time.monotonic()
while time.monotonic() < start + 2:
    try:
        os.posix_spawn("/nothing", ["x"], {{}})
    except FileNotFoundError:
        pass
    time.sleep(0.001)
"""
_QUIET_S = 1.5  # Fluent Bit writes once a second
_INDICES = ("bulk", "bulk-chosen", "twice")
_OWNER = "example.com/owner"
_LABELS = (("app", "cart"), ("app.kubernetes.io/part-of", "shop"), ("pod-template-hash", "59855dd6c8"), ("secret", "s3cr3t"))
# A receiver's times are OCSF's own, in milliseconds, and the cast wants Tenzir's.
CAST = """
time = from_epoch(time * 1ms)
if class_uid == 1007 {
  actor.process.created_time = from_epoch(actor.process.created_time? * 1ms)
  process.created_time = from_epoch(process.created_time? * 1ms)
  process.parent_process.created_time = from_epoch(process.parent_process.created_time? * 1ms)
} else {
  start_time = from_epoch(start_time * 1ms)
  end_time = from_epoch(end_time * 1ms)
}
if class_uid == 2004 {
  finding_info.first_seen_time = from_epoch(finding_info.first_seen_time * 1ms)
  finding_info.last_seen_time = from_epoch(finding_info.last_seen_time * 1ms)
}
ocsf_cast"""


@dataclass
class Shipment:
    """`sent`: event id -> native event. `arrived`: sink -> what its receiver has, in order. `ledger`: the agent's last.
    `late`: the state of the sink with the wrong token, before the right one was there. `stderr`: of each
    Tenzir."""

    sent: dict[str, Json] = field(default_factory=dict)
    arrived: dict[str, list[Json]] = field(default_factory=dict)
    ledger: Json = field(default_factory=dict)
    late: str = ""
    stderr: dict[str, str] = field(default_factory=dict)
    log: str = ""

    def forks(self, *, pod: str | None = None) -> list[Json]:
        """The forks that were sent: all, or one pod's."""
        forks = [event for event in self.sent.values() if event["event"] == "sched_process_fork"]
        return [event for event in forks if pod is None or event["k8s"]["pod"] == pod]


def ship(folder: Path, osmem: Osmem, template: Json) -> Shipment:
    """`template`: Elasticsearch's component template."""
    with ExitStack() as here, Runtime(folder / "runtime") as runtime:
        return asyncio.run(_Run(folder, here, runtime, osmem, template).ship())


class _Run:
    def __init__(self, folder: Path, here: ExitStack, runtime: Runtime, osmem: Osmem, template: Json) -> None:
        self._folder = folder
        self._runtime = runtime
        self._osmem = osmem
        self._cluster = Cluster()
        osmem.ask("/_component_template/forklore", template, "PUT")
        for index in _INDICES:
            given = {"index_patterns": [f"forklore-{index}"], "composed_of": ["forklore"], "template": {}}
            osmem.ask(f"/_index_template/forklore-{index}", given, "PUT")

        def tenzir(pipeline: str) -> Tenzir:
            started: Tenzir = here.enter_context(Tenzir(folder, pipeline))
            return started

        splunk = f'accept_splunk "127.0.0.1:PORT", hec_token="{TOKEN}"'
        otlp = 'accept_otlp "127.0.0.1:PORT", transport="http", signals=["logs"]'
        lines = 'accept_http "127.0.0.1:PORT" { read_ndjson }'
        fluent = 'from_fluent_bit "{}", options={{listen: "127.0.0.1", port: PORT{}}}'
        self.tenzirs = {
            "hec": tenzir(splunk),
            "hec-ocsf": tenzir(splunk),
            "hec-chosen": tenzir(splunk),
            "late": tenzir(splunk),
            "otlp": tenzir(otlp),
            "otlp-chosen": tenzir(otlp),
            "everything": tenzir(lines),
            "cast": tenzir(lines + CAST),
            "refused": tenzir(lines.replace("read_ndjson", "read_json arrays_of_objects=true") + CAST),
            "fluent-splunk": tenzir(fluent.format("splunk", f', splunk_token: "{TOKEN}"')),
            "fluent-http": tenzir(fluent.format("http", "")),
            "fluent-elasticsearch": tenzir(fluent.format("elasticsearch", "")),
            "fluent-otlp": tenzir(fluent.format("opentelemetry", "")),
        }
        self.truth = Receiver()
        here.callback(self.truth.close)
        self.refusing = here.enter_context(FaultProxy(self.tenzirs["refused"].address))
        self.forgetful = here.enter_context(FaultProxy(osmem.address))
        # The batch is accepted, and the response is lost: it is sent once more.
        self.forgetful.play(Reset("forwarded"), Reset("forwarded"))
        self._right, self._wrong = folder / "token", folder / "late"
        self._right.write_text(f"{TOKEN}\n")
        self._wrong.write_text("0a1b2c3d\n")

    def _sinks(self) -> list[Json]:
        """All but two select the two pods only, since other processes of the machine may fork a lot."""
        at = {name: tenzir.url("") for name, tenzir in self.tenzirs.items()}
        pods_only = {"annotations": [_OWNER], "select": {"namespaces": {"include": ["shop", "other"]}, "host": False}}
        chosen = {
            "annotations": [_OWNER],
            "labels": ["app", "app.kubernetes.io/*"],
            "select": {"namespaces": {"include": ["sh*"]}, "labels": "app=cart", "host": False},
        }
        token = {"token_file": str(self._right)}
        elastic = {"protocol": "elasticsearch", "url": self._osmem.url("")}
        return [
            {"name": "truth", "url": self.truth.url, "annotations": [_OWNER]},
            {"name": "everything", "url": at["everything"] + "/", "annotations": [_OWNER], "compression": "none"},
            {"name": "hec", "url": at["hec"], "protocol": "splunk_hec", **token, **pods_only},
            {"name": "hec-ocsf", "url": at["hec-ocsf"], "protocol": "splunk_hec", "schema": "ocsf", **token, **pods_only},
            {"name": "hec-chosen", "url": at["hec-chosen"], "protocol": "splunk_hec", **token, **chosen,
             "drop_fields": ["comm", "k8s.service_account", "namespaces"]},
            {"name": "late", "url": at["late"], "protocol": "splunk_hec", "token_file": str(self._wrong), **pods_only},
            {"name": "otlp", "url": at["otlp"], "protocol": "otlp", **pods_only},
            {"name": "otlp-chosen", "url": at["otlp-chosen"], "protocol": "otlp", **chosen,
             "drop_fields": ["body", "process.executable.name"]},
            {"name": "cast", "url": at["cast"] + "/", "schema": "ocsf", **pods_only},
            {"name": "refused", "url": self.refusing.url("/in"), "schema": "ocsf", "framing": "json", **pods_only},
            {"name": "bulk", **elastic, "index": "forklore-bulk", **pods_only},
            {"name": "bulk-chosen", **elastic, "index": "forklore-bulk-chosen", **chosen,
             "drop_fields": ["process.name", "host.os"]},
            {"name": "twice", **elastic, "url": self.forgetful.url(""), "index": "forklore-twice", **pods_only},
            {"name": "fluent-splunk", "url": at["fluent-splunk"], "protocol": "splunk_hec", **token, **pods_only},
            {"name": "fluent-http", "url": at["fluent-http"] + "/", "schema": "ocsf", "framing": "json", **pods_only},
            {"name": "fluent-elasticsearch", "url": at["fluent-elasticsearch"] + "/_bulk", "protocol": "elasticsearch",
             "data_stream": "logs-forklore.process-default", **pods_only},
            {"name": "fluent-otlp", "url": at["fluent-otlp"], "protocol": "otlp", **pods_only},
        ]  # fmt: skip

    async def ship(self) -> Shipment:
        async with KubernetesApi(self._cluster) as api:
            api.write_kubeconfig(self._folder / "kubeconfig")
            return await asyncio.to_thread(self._shipped, asyncio.get_running_loop())

    def _shipped(self, loop: asyncio.AbstractEventLoop) -> Shipment:
        settings = {
            "cluster": "demo",
            "capture": {"threads": True, "summary_interval": "1s", "storm_limit": 200},
            "kubernetes": {"kubeconfig": str(self._folder / "kubeconfig"), "wait": "2s"},
            "sinks": [{**sink, "batch": {"wait": "200ms"}} for sink in self._sinks()],
        }
        agent = Agent(self._folder, settings)
        try:
            until(agent.ready, "the agent is ready")
            return self._observed(loop, agent)
        finally:
            agent.process.kill()
            agent.process.wait()

    def _observed(self, loop: asyncio.AbstractEventLoop, agent: Agent) -> Shipment:
        shipment = Shipment()
        noise = self._started(loop, "other", "noise-1", (("app", "noise"),), FORK_23)
        cart = self._started(loop, "shop", "cart-1", _LABELS, _NAMED + FORK_23 + THREADS_23 + _STORM)
        self.refusing.usual = ByBody(_refuse_data)  # rejected events are reported as missing
        for container in (noise, cart):
            (container.work / "go").touch()
        until(lambda: agent.get("/v1/ledger")["sinks"]["refused"]["lost"], "forks are refused")
        self.refusing.usual = Forward()
        for container in (noise, cart):
            until((container.work / "done").exists, f"{container.name} is done")
        shipment.late = until(lambda: _wrong(agent), "the wrong token is rejected")
        self._wrong.write_text(f"{TOKEN}\n")
        # A storm is over when the pod was below the limit for five seconds.
        until(lambda: _stormed(self.truth.events), "the storm is over")
        shipment.ledger = agent.stop()
        shipment.log = agent.log.read_text()
        sent = {event["id"]: event for event in self.truth.events}
        assert len(sent) == len(self.truth.events)
        shipment.sent = sent
        self._gather(shipment)
        return shipment

    def _started(
        self, loop: asyncio.AbstractEventLoop, namespace: str, name: str, labels: tuple[tuple[str, str], ...], what: str
    ) -> Container:
        uid, container_id = str(uuid.uuid4()), secrets.token_hex(32)
        owner = Owner("ReplicaSet", f"{name}-59855dd6c8", str(uuid.uuid4()))
        pod = scheduled(Pod(namespace, name, uid, (("app", ("python3",)),), labels=labels, owner=owner), "2026-11-22T19:46:33Z")
        pod["metadata"]["annotations"] = {_OWNER: "me", "example.com/other": "not asked for"}
        _in_loop(loop, self._cluster.add_pod, pod)
        command = ["/usr/bin/python3", "-c", SCRIPT.format(what=what.replace("{{}}", "{}") if what else "")]
        container = self._runtime.start(command, pod_uid=uid, container_id=container_id)
        _in_loop(loop, self._cluster.container_running, uid, "app", container_id)
        until((container.work / "here").exists, f"{name} waits")
        return container

    def _gather(self, shipment: Shipment) -> None:
        """Receivers write shortly after their response, and Fluent Bit once a second."""
        before: list[int] = []
        quiet = 0.0
        while (
            before != (now := [tenzir.stdout_file.stat().st_size for tenzir in self.tenzirs.values()])
            or time.monotonic() < quiet
        ):
            if now != before:
                before, quiet = now, time.monotonic() + _QUIET_S
            time.sleep(0.05)
        shipment.arrived = {name: list(tenzir.events()) for name, tenzir in self.tenzirs.items()}
        for name in _INDICES:
            shipment.arrived[name] = list(self._osmem.documents(f"forklore-{name}").values())
        shipment.stderr = {name: tenzir.stderr_file.read_text() for name, tenzir in self.tenzirs.items()}
        assert {*shipment.ledger["sinks"]} == {"truth", *shipment.arrived}


def _refuse_data(body: bytes) -> Fault:
    """Accepts only test events, which show that the data is at fault and not the receiver. The receiver gets neither."""
    return Say(200) if b".gap.refused.test." in igzip.decompress(body) else Say(400, body=b"not like this")


def _wrong(agent: Agent) -> str:
    state = str(agent.get("/v1/ledger")["sinks"]["late"]["state"])
    return state if "hold" in state else ""


def _stormed(events: Iterable[Json]) -> bool:
    return any(event.get("phase") == "stop" and event["k8s"]["pod"] == "cart-1" for event in [*events])


def _in_loop(loop: asyncio.AbstractEventLoop, function: Any, *given: Any) -> None:
    async def called() -> None:
        function(*given)

    asyncio.run_coroutine_threadsafe(called(), loop).result(10)


def ids(events: Iterable[Json], *path: str) -> list[str]:
    """The event id at that path of each."""
    found = []
    for event in events:
        value: Any = event
        for name in path:
            value = value[name]
        found.append(str(value))
    return found
