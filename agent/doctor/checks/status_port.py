"""Checks what answers on the status port: an agent, another program, or nothing."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from agent.doctor.check_result import CheckResult, fail, ok, warn
from wire import VERSION

__all__ = ["StatusPort", "fetch", "judge_status_port", "read_status_port", "samples"]

_ANSWER_S: Final = 5.0
_MOST: Final = 32 << 20  # bytes: /metrics with series for 5,000 pods is 2 MB


@dataclass(frozen=True)
class StatusPort:
    """`address`: the setting. `url`: the request's. `ready`: status and text of /readyz; None: nothing answers. `version`: of
    the agent that answers; None: it is no agent, or its /metrics has no version yet. `bind_error`: why the port can't be bound,
    when nothing answers."""

    address: str
    url: str
    ready: tuple[int, str] | None = None
    version: str | None = None
    bind_error: str | None = None


def read_status_port(address: str, *, tls: bool = False) -> StatusPort:
    host, _, port = address.rpartition(":")
    url = f"{'https' if tls else 'http'}://{address}"  # Linux connects to this machine for 0.0.0.0 and [::]
    try:
        ready = fetch(f"{url}/readyz")
        agents = [labels for name, labels, _ in samples(url) if name == "forklore_agent_info"]
    except OSError:
        return StatusPort(address, url, bind_error=_bind_error(host.strip("[]"), int(port)))
    return StatusPort(address, url, ready, agents[0].get("version") if agents else None)


def fetch(url: str) -> tuple[int, str]:
    """Status and text. Raises OSError when there is no answer."""
    anyone = ssl.create_default_context()  # this machine's own port, by an address that no certificate names; no token is sent
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=anyone))
    try:
        with direct.open(url, timeout=_ANSWER_S) as answer:
            return answer.status, answer.read(_MOST).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read(1000).decode(errors="replace").strip()
    except (ValueError, http.client.HTTPException) as error:
        raise OSError(f"no HTTP: {error}") from error


def samples(url: str) -> list[tuple[str, dict[str, str], float]]:
    """Name, labels and value of every sample in /metrics; empty when it is not in Prometheus' text format. Raises OSError."""
    status, text = fetch(f"{url}/metrics")
    if status != 200:
        return []
    try:
        families = list(text_string_to_metric_families(text))
    except (ValueError, IndexError, KeyError, TypeError):
        return []
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def _bind_error(host: str, port: int) -> str | None:
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return None


def judge_status_port(status_port: StatusPort) -> CheckResult:
    if status_port.ready is None:
        if status_port.bind_error:
            cure = "set `status` to another port, or stop what uses this one"
            return fail("status port", f"{status_port.address}: {status_port.bind_error}", cure)
        return ok("status port", f"{status_port.address} is free: no agent runs here")
    status, text = status_port.ready
    if status_port.version is None and not (status == 503 and "capture is about to begin" in text):
        cure = "set `status` to another port, or stop what uses this one"
        return fail("status port", f"what answers on {status_port.address} is no agent: {status}", cure)
    agent = f"an agent{f' {status_port.version}' if status_port.version else ''} answers on {status_port.address}"
    if status != 200:
        return fail("status port", f"{agent}, and is not ready: {text}", "see the agent's log, and the results above")
    if warnings := text.splitlines()[1:]:
        return warn("status port", f"{agent}, and is ready; {'; '.join(warnings)}", "correct what it names")
    if status_port.version != VERSION:
        cure = "finish the rollout: this command and the agent have different versions"
        return warn("status port", f"{agent}; this is {VERSION}", cure)
    return ok("status port", f"{agent}, and is ready")
