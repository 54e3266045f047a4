"""`helm test`: checks every agent: `ask_agents.py SCHEME://NAME:PORT [URL] [CLAIM]`; URL: the collector's /readyz; CLAIM: the
API's path of the claim of its volume.

Ends with 0 when every agent is ready, has captured forks (there are some on every node, this program's own among them), has
listed its node's pods, has a ledger that closes, and has delivered to each sink; else with 1, and a line for each fault. Uses
the standard library only, and changes nothing. Over https it trusts the CA below, where it is mounted, else the system's; the
agents' certificate is for their Service's name, and they are asked by address.
"""

import http.client
import json
import os
import re
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

PATIENCE_S = float(os.environ.get("PATIENCE_S", "90"))  # a rollout may be under way, and a batch waits for others
CA = Path(os.environ.get("CA_FOLDER", "/run/forklore"))
AGENT_CA, COLLECTOR_CA = CA / "agent-ca/ca.crt", CA / "collector-ca/ca.crt"
API_CA = Path(os.environ.get("SERVICE_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount")) / "ca.crt"
SAMPLE = re.compile(r"^(forklore_\w+?)(?:\{(.*)\})? ([0-9.e+]+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Pinned(http.client.HTTPSConnection):
    """Checks the certificate for `name`, whatever address it connects to."""

    name = ""
    trust: ssl.SSLContext

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        self.sock = self.trust.wrap_socket(plain, server_hostname=self.name)


class PinnedHandler(urllib.request.HTTPSHandler):
    def __init__(self, name: str, ca: Path) -> None:
        super().__init__()
        trust = ssl.create_default_context(cafile=str(ca) if ca.exists() else None)
        self.connection = type("PinnedTo", (Pinned,), {"name": name, "trust": trust})

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self.connection, request)


def fetch(url: str, name: str, ca: Path, token: str = "") -> tuple[int, str]:
    """Status and body; 0 and the reason when there is no answer. `name`: the one in the server's certificate."""
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), PinnedHandler(name, ca))
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310
        with opener.open(request, timeout=5) as answer:
            return answer.status, answer.read(10_000_000).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read(1000).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)


def ask(base: str, name: str, sinks: Counter[str]) -> list[str]:
    """The faults of one agent. Adds to `sinks` the forks that each has accepted from it. `name`: see fetch."""
    code, text = fetch(f"{base}/readyz", name, AGENT_CA)
    if code != 200:
        return [f"not ready: {text}"]
    code, text = fetch(f"{base}/metrics", name, AGENT_CA)
    if code != 200:
        return [f"{code} from /metrics: {text}"]
    sums: Counter[str] = Counter()
    delivered: Counter[str] = Counter()
    queued: Counter[str] = Counter()
    for metric, labels, value in SAMPLE.findall(text):
        sums[metric] += int(float(value))
        if metric == "forklore_delivered_forks_total":
            delivered[dict(LABEL.findall(labels))["sink"]] += int(float(value))
        elif metric == "forklore_queued_forks":
            queued[dict(LABEL.findall(labels))["sink"]] += int(float(value))
    sinks.update(delivered)
    faults = [
        f"sink {sink}: has taken nothing of this agent; {queued[sink]} forks wait for it{state(base, name, sink)}"
        for sink, taken in delivered.items()
        if not taken and queued[sink]
    ]
    if not sums["forklore_captured_forks_total"]:
        faults.append("no fork has been captured")
    if difference := sums["forklore_unaccounted_forks"]:
        faults.append(f"its ledger is open: {difference} forks are in no place of it")
    if sums.get("forklore_kubernetes_synced") == 0:
        faults.append("the pods of its node have not been listed, so events have no names; `forklore doctor` names the reason")
    elif "forklore_kubernetes_synced" in sums and sums.get("forklore_kubelet_root_known") == 0:
        faults.append("no cgroup of its node belongs to a pod that the API lists for it: is `node` the API's name of it?")
    return faults


def state(base: str, name: str, sink: str) -> str:
    """What the agent reports of a sink; empty where that needs a token."""
    code, text = fetch(f"{base}/v1/ledger", name, AGENT_CA)
    return f": {json.loads(text)['sinks'][sink]['state']}" if code == 200 else ""


def pending(claim: str) -> str | None:
    """The fault of the claim, or None."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    try:
        token = API_CA.with_name("token").read_text().strip()
    except OSError as error:
        return f"collector: its claim can't be asked for: {error}"
    code, text = fetch(f"https://{f'[{host}]' if ':' in host else host}:{port}{claim}", host, API_CA, token)
    if code != 200 or json.loads(text).get("status", {}).get("phase") != "Pending":
        return None
    return (
        f"collector: the claim {claim.rpartition('/')[2]} is Pending, because no volume fits: set"
        " collector.persistence.storageClassName to a class of `kubectl get storageclass`, or collector.persistence.enabled"
        " to false; delete the StatefulSet and the claim before the upgrade"
    )


def check(agents: str, collector: str | None, claim: str | None) -> tuple[list[str], str]:
    """A line for each fault, and a summary of the agents and their sinks."""
    parts = urlsplit(agents)
    name = str(parts.hostname)
    try:
        hosts = sorted({str(info[4][0]) for info in socket.getaddrinfo(name, parts.port, type=socket.SOCK_STREAM)})
    except OSError as error:
        return [f"no agent has an address: {name}: {error}"], ""
    bases = {host: f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{parts.port}" for host in hosts}
    sinks: Counter[str] = Counter()
    wrong = [f"{host}: {fault}" for host, base in bases.items() for fault in ask(base, name, sinks)]
    wrong += [f"sink {sink}: has taken nothing of any agent yet" for sink, taken in sinks.items() if not taken]
    if collector:
        code, text = fetch(collector, str(urlsplit(collector).hostname), COLLECTOR_CA)
        if code != 200:
            wrong.append((claim and pending(claim)) or f"collector: not ready: {text}")
    taken = ", ".join(f"sink {sink} has taken {taken} forks" for sink, taken in sorted(sinks.items()))
    return wrong, f"agents: {len(hosts)}; {taken or 'no sink is set: forks are counted and go nowhere'}"


def main(agents: str, collector: str | None = None, claim: str | None = None) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        wrong, summary = check(agents, collector, claim)
        if not wrong or time.monotonic() > deadline:
            break
        time.sleep(2)
    sys.stdout.write("\n".join([summary, *wrong]).strip() + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
