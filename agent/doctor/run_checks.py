"""All looks, in the order in which an agent needs what they look at. One that breaks is a finding, and stops no other.

Must not live here: any one look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from agent.attribution.api_access import try_access
from agent.attribution.cgroups import Hierarchy
from agent.doctor.check_result import Finding, Verdict, fail, skipped
from agent.doctor.checks.canary import ask_agent, judge_canary, own_capture
from agent.doctor.checks.cluster import judge_access
from agent.doctor.checks.directories import judge_cgroups, judge_state, read_cgroups, read_state
from agent.doctor.checks.node import Node, judge_node, read_node
from agent.doctor.checks.pinned_capture import judge_pinned, read_pinned
from agent.doctor.checks.receivers import judge_receivers, try_receivers
from agent.doctor.checks.status_port import StatusPort, judge_status_port, read_status_port
from agent.kernel.capture import orders_of
from agent.kernel.loader import digest
from agent.settings import Settings

__all__ = ["run_checks"]

_BROKE: Final = "tell forklore's developers: a look is not to break, whatever it sees"
_OTHER_USER: Final = "run it as the agent's user, which is root as a rule"
_SETTINGS: Final = "the settings are wrong"


def run_checks(settings: Settings | None) -> list[Finding]:
    """`settings` None: they are wrong, and what depends on them is skipped."""
    here = _Run(settings)
    looks = {
        "node": here.node_itself,
        "cgroups": here.cgroups,
        "pins": here.pins,
        "state directory": here.state,
        "Kubernetes API": here.access,
        "sinks": here.sinks,
        "status port": here.status,
        "canary": here.canary,
    }
    for name, look in looks.items():
        try:
            here.findings.extend(look())
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            here.findings.append(fail(name, f"could not look: {where}{error.strerror or error}", _OTHER_USER))
        except Exception as error:  # whatever a broken machine, or who answers there, can do
            here.findings.append(fail(name, f"could not look: {type(error).__name__}: {error}", _BROKE))
    return here.findings


@dataclass
class _Run:
    """What an earlier look saw, a later one may need."""

    settings: Settings | None
    findings: list[Finding] = field(default_factory=list)
    node: Node | None = None
    hierarchy: Hierarchy | None = None
    status_port: StatusPort | None = None

    def node_itself(self) -> Iterable[Finding]:
        self.node = read_node()
        return judge_node(self.node)

    def cgroups(self) -> Iterable[Finding]:
        seen = read_cgroups()
        self.hierarchy = seen.chosen
        return [judge_cgroups(seen)]

    def pins(self) -> Iterable[Finding]:
        if self.settings is None:
            return [skipped("pins", _SETTINGS)]
        capture, at = self.settings.capture, self.hierarchy
        if capture.pin is None:
            return [skipped("pins", "capture.pin is null: capture ends with the agent, and a restart misses forks")]
        fingerprint = digest(orders_of(capture.ring_bytes, at.number, at.controller)) if at else None
        can_mount = self.node is not None and "SYS_ADMIN" in self.node.privileges.effective
        return judge_pinned(read_pinned(capture.pin, fingerprint, can_mount=can_mount))

    def state(self) -> Iterable[Finding]:
        if self.settings is None:
            return [skipped("state directory", _SETTINGS)]
        return judge_state(read_state(self.settings.state_dir, [sink.journal_bytes for sink in self.settings.sinks]))

    def access(self) -> Iterable[Finding]:
        if self.settings is None:
            return [skipped("Kubernetes API", _SETTINGS)]
        kubernetes = self.settings.kubernetes
        if not kubernetes.enabled:
            return [skipped("Kubernetes API", "kubernetes.enabled is false: events carry the pod's uid and no names")]
        return judge_access(asyncio.run(try_access(self.settings.node, kubernetes.kubeconfig)))

    def sinks(self) -> Iterable[Finding]:
        if self.settings is None:
            return [skipped("sinks", _SETTINGS)]
        return judge_receivers(asyncio.run(try_receivers(self.settings)))

    def status(self) -> Iterable[Finding]:
        if self.settings is None:
            return [skipped("status port", _SETTINGS)]
        self.status_port = read_status_port(self.settings.status)
        return [judge_status_port(self.status_port)]

    def canary(self) -> Iterable[Finding]:
        if self.status_port and self.status_port.version is not None:
            return [judge_canary(ask_agent(self.status_port.url))]
        # Up to here all that has been looked at is what capture needs; what else failed does not matter to it.
        needed = {"kernel", "libbpf", "BTF", "ring buffer", "capabilities", "user namespace", "lockdown", "seccomp", "BCC"}
        wrong = [one.name for one in self.findings if one.verdict is Verdict.FAIL and one.name in needed | {"cgroups"}]
        if wrong or self.hierarchy is None:
            return [skipped("canary", f"nothing can be captured: see {', '.join(wrong)}")]
        return [judge_canary(own_capture(self.hierarchy))]
