"""Who answers on the status port: an agent, something else, or nobody.

Must not live here: what an agent counts (canary).
"""

from __future__ import annotations

import http.client
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from agent.doctor.check_result import Finding, fail, ok, warn
from wire import VERSION

__all__ = ["StatusPort", "fetch", "judge_status_port", "read_status_port", "samples"]

_ANSWER_S: Final = 5.0
_MOST: Final = 32 << 20  # bytes: /metrics with series for 5,000 pods is 2 MB


@dataclass(frozen=True)
class StatusPort:
    """`where`: the setting. `url`: how it was asked. `ready`: status and words of /readyz; None: nobody answers. `version`: of
    the agent that answers; None: it is none, or says nothing yet. `taken`: why the port can't be had, when nobody answers."""

    where: str
    url: str
    ready: tuple[int, str] | None = None
    version: str | None = None
    taken: str | None = None


def read_status_port(where: str) -> StatusPort:
    host, _, port = where.rpartition(":")
    url = f"http://{where}"  # Linux takes 0.0.0.0 and [::] for this machine
    try:
        ready = fetch(f"{url}/readyz")
        agents = [labels for name, labels, _ in samples(url) if name == "forklore_agent_info"]
    except OSError:
        return StatusPort(where, url, taken=_taken(host.strip("[]"), int(port)))
    return StatusPort(where, url, ready, agents[0].get("version") if agents else None)


def fetch(url: str) -> tuple[int, str]:
    """Status and words. Raises OSError when there is no answer."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=_ANSWER_S) as answer:
            return answer.status, answer.read(_MOST).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read(1000).decode(errors="replace").strip()
    except (ValueError, http.client.HTTPException) as error:
        raise OSError(f"no HTTP: {error}") from error


def samples(url: str) -> list[tuple[str, dict[str, str], float]]:
    """Name, labels, value: all that is in /metrics; nothing when it isn't Prometheus' text. Raises OSError."""
    status, text = fetch(f"{url}/metrics")
    if status != 200:
        return []
    try:
        families = list(text_string_to_metric_families(text))
    except (ValueError, IndexError, KeyError, TypeError):
        return []
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def _taken(host: str, port: int) -> str | None:
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return None


def judge_status_port(status_port: StatusPort) -> Finding:
    if status_port.ready is None:
        if status_port.taken:
            cure = "give `status` another port, or stop what has this one"
            return fail("status port", f"{status_port.where}: {status_port.taken}", cure)
        return ok("status port", f"{status_port.where} is free: no agent runs here")
    status, words = status_port.ready
    if status_port.version is None and not (status == 503 and "capture is about to begin" in words):
        cure = "give `status` another port, or stop what has this one"
        return fail("status port", f"something answers on {status_port.where} that is no agent: {status}", cure)
    agent = f"an agent{f' {status_port.version}' if status_port.version else ''} answers on {status_port.where}"
    if status != 200:
        return fail("status port", f"{agent}, and is not ready: {words}", "see the agent's log, and the findings above")
    if status_port.version != VERSION:
        cure = "finish the rollout: this command is of another version than the agent"
        return warn("status port", f"{agent}; this is {VERSION}", cure)
    return ok("status port", f"{agent}, and is ready")
