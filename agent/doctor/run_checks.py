"""Runs all checks, in the order in which an agent needs what they check. A check that fails unexpectedly stops no other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from agent.attribution.hierarchy import Hierarchy
from agent.attribution.pods.access import try_access
from agent.doctor.check_result import CheckResult, Verdict, fail, skipped
from agent.doctor.checks.canary import count_by_agent, count_by_own_capture, judge_canary
from agent.doctor.checks.cluster import judge_access
from agent.doctor.checks.directories import judge_cgroups, judge_state, read_cgroups, read_state
from agent.doctor.checks.node import Node, judge_node, read_node
from agent.doctor.checks.pinned_capture import judge_pinned, read_pinned
from agent.doctor.checks.receivers import judge_receivers, try_receivers
from agent.doctor.checks.status_port import StatusPort, judge_status_port, read_status_port
from agent.kernel.capture import build_options
from agent.kernel.loader import compute_fingerprint
from agent.settings import Settings

__all__ = ["run_checks"]

_REPORT_IT: Final = "report it to forklore's developers: a check must not break, whatever it reads"
_OTHER_USER: Final = "run it as the agent's user, usually root"
_WRONG_SETTINGS: Final = "the settings are wrong"
# Results that the canary needs: without these nothing can be captured.
_NEEDED_TO_CAPTURE: Final = frozenset(
    {"kernel", "libbpf", "BTF", "ring buffer", "capabilities", "user namespace", "lockdown", "seccomp", "BCC", "cgroups"}
)


def run_checks(settings: Settings | None) -> list[CheckResult]:
    """`settings` None: they are wrong, and the checks that need them are skipped."""
    run = _Run(settings)
    checks = {
        "node": run.check_node,
        "cgroups": run.check_cgroups,
        "pins": run.check_pins,
        "state directory": run.check_state,
        "Kubernetes API": run.check_access,
        "sinks": run.check_sinks,
        "status port": run.check_status,
        "canary": run.check_canary,
    }
    for name, check in checks.items():
        try:
            run.results.extend(check())
        except OSError as error:
            file = f"{error.filename}: " if error.filename else ""
            run.results.append(fail(name, f"could not be checked: {file}{error.strerror or error}", _OTHER_USER))
        except Exception as error:  # whatever a broken machine, or what answers there, can cause
            run.results.append(fail(name, f"could not be checked: {type(error).__name__}: {error}", _REPORT_IT))
    return run.results


@dataclass
class _Run:
    """The results so far, and what earlier checks read that later ones need."""

    settings: Settings | None
    results: list[CheckResult] = field(default_factory=list)
    node: Node | None = None
    hierarchy: Hierarchy | None = None
    status_port: StatusPort | None = None

    def check_node(self) -> Iterable[CheckResult]:
        self.node = read_node()
        return judge_node(self.node)

    def check_cgroups(self) -> Iterable[CheckResult]:
        cgroups = read_cgroups(can_mount=self._can_mount)
        self.hierarchy = cgroups.chosen
        return [judge_cgroups(cgroups)]

    def check_pins(self) -> Iterable[CheckResult]:
        if self.settings is None:
            return [skipped("pins", _WRONG_SETTINGS)]
        capture, hierarchy = self.settings.capture, self.hierarchy
        if capture.pin is None:
            return [skipped("pins", "capture.pin is null: capture ends with the agent, and a restart misses forks")]
        fingerprint = (
            compute_fingerprint(build_options(capture.ring_bytes, hierarchy.number, hierarchy.controller, hierarchy.part))
            if hierarchy
            else None
        )
        return judge_pinned(read_pinned(capture.pin, fingerprint, can_mount=self._can_mount))

    @property
    def _can_mount(self) -> bool:
        return self.node is not None and "SYS_ADMIN" in self.node.privileges.effective

    def check_state(self) -> Iterable[CheckResult]:
        if self.settings is None:
            return [skipped("state directory", _WRONG_SETTINGS)]
        return judge_state(read_state(self.settings.state_dir, [sink.journal_bytes for sink in self.settings.sinks]))

    def check_access(self) -> Iterable[CheckResult]:
        if self.settings is None:
            return [skipped("Kubernetes API", _WRONG_SETTINGS)]
        kubernetes = self.settings.kubernetes
        if not kubernetes.enabled:
            return [skipped("Kubernetes API", "kubernetes.enabled is false: events have the pod's uid and no names")]
        access = try_access(self.settings.node, kubernetes.kubeconfig, strict_x509=kubernetes.strict_x509)
        return judge_access(asyncio.run(access))

    def check_sinks(self) -> Iterable[CheckResult]:
        if self.settings is None:
            return [skipped("sinks", _WRONG_SETTINGS)]
        return judge_receivers(asyncio.run(try_receivers(self.settings)))

    def check_status(self) -> Iterable[CheckResult]:
        if self.settings is None:
            return [skipped("status port", _WRONG_SETTINGS)]
        self.status_port = read_status_port(self.settings.status, tls=self.settings.status_cert_file is not None)
        return [judge_status_port(self.status_port)]

    def check_canary(self) -> Iterable[CheckResult]:
        if self.status_port and self.status_port.version is not None:
            return [judge_canary(count_by_agent(self.status_port.url))]
        failed = [one.name for one in self.results if one.verdict is Verdict.FAIL and one.name in _NEEDED_TO_CAPTURE]
        if failed or self.hierarchy is None:
            return [skipped("canary", f"nothing can be captured: see {', '.join(failed)}")]
        return [judge_canary(count_by_own_capture(self.hierarchy))]
