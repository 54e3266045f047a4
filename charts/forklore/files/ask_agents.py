"""`helm test`: checks every agent: `ask_agents.py SCHEME://NAME:PORT [URL]`; URL: the collector's /readyz.

Ends with 0 when every agent is ready, has captured forks (there are some on every node, this program's own among them), and
each sink has accepted some from one agent at least; else with 1, and a line for each that has not. Uses the standard library
only, and changes nothing. Over https it trusts the CA below, where it is mounted, else the system's; the agents' certificate is
for their Service's name, and they are asked by address.
"""

import http.client
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


def fetch(url: str, name: str, ca: Path) -> tuple[int, str]:
    """Status and body; 0 and the reason when there is no answer. `name`: the one in the server's certificate."""
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), PinnedHandler(name, ca))
        with opener.open(url, timeout=5) as answer:
            return answer.status, answer.read(10_000_000).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read(1000).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)


def ask(base: str, name: str, sinks: Counter[str]) -> str | None:
    """The fault of one agent, or None. Adds to `sinks` the forks that each has accepted from it. `name`: see fetch."""
    code, text = fetch(f"{base}/readyz", name, AGENT_CA)
    if code != 200:
        return f"not ready: {text}"
    code, text = fetch(f"{base}/metrics", name, AGENT_CA)
    captured = 0.0
    for name, labels, value in SAMPLE.findall(text):
        if name == "forklore_captured_forks_total":
            captured += float(value)
        elif name == "forklore_delivered_forks_total":
            sinks[dict(LABEL.findall(labels))["sink"]] += int(float(value))
    return None if captured else f"no fork has been captured ({code} from /metrics)"


def check(agents: str, collector: str | None) -> tuple[list[str], str]:
    """A line for each fault, and a summary of the agents and their sinks."""
    parts = urlsplit(agents)
    name = str(parts.hostname)
    try:
        hosts = sorted({str(info[4][0]) for info in socket.getaddrinfo(name, parts.port, type=socket.SOCK_STREAM)})
    except OSError as error:
        return [f"no agent has an address: {name}: {error}"], ""
    bases = {host: f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{parts.port}" for host in hosts}
    sinks: Counter[str] = Counter()
    wrong = [f"{host}: {trouble}" for host, base in bases.items() if (trouble := ask(base, name, sinks))]
    wrong += [f"sink {sink}: has taken nothing of any agent yet" for sink, taken in sinks.items() if not taken]
    if collector:
        code, text = fetch(collector, str(urlsplit(collector).hostname), COLLECTOR_CA)
        if code != 200:
            wrong.append(f"collector: not ready: {text}")
    taken = ", ".join(f"sink {sink} has taken {taken} forks" for sink, taken in sorted(sinks.items()))
    return wrong, f"agents: {len(hosts)}; {taken or 'no sink is set: forks are counted and go nowhere'}"


def main(agents: str, collector: str | None) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        wrong, summary = check(agents, collector)
        if not wrong or time.monotonic() > deadline:
            break
        time.sleep(2)
    sys.stdout.write("\n".join([summary, *wrong]).strip() + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
