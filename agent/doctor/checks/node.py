"""Checks the kernel and what it permits this process: version, BTF, ring buffer, capabilities, lockdown, user namespace,
seccomp; and BCC."""

from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.doctor.check_result import CheckResult, fail, ok, skipped, warn
from agent.kernel.loader import Refused, check_ring_buffer
from agent.kernel.offsets import Btf, BtfMissing, offset_flags
from agent.lifecycle.capabilities import Privileges, privileges

__all__ = ["Node", "judge_node", "read_node"]

_OLDEST_KERNEL: Final = (5, 10)
_NO_MEMLOCK: Final = (5, 11)  # since then BPF memory is charged to the cgroup, not to RLIMIT_MEMLOCK
_OLDEST_BCC: Final = (0, 26)
_INITIAL_USER_NS: Final = 0xEFFFFFFD  # PROC_USER_INIT_INO: the inode of the first user namespace
_IMPORT_BCC: Final = "import bcc; bcc.BPF; print(bcc.__version__)"
_IMPORT_BCC_S: Final = 60.0  # LLVM is 100 MB to read from a cold disk
_GRANT: Final = "run it as root, or in a pod with securityContext.capabilities.add"


@dataclass(frozen=True)
class Node:
    """`libbpf_error`, `btf_error`, `bcc_error`: None when it works. `ring_error`: why the smallest ring buffer could not be
    created; `EPERM` when bpf() was refused. `lockdown`: the kernel's file; None: not readable. `seccomp`: the mode, from
    /proc/<pid>/status."""

    release: str
    libbpf_error: str | None
    btf_error: str | None
    ring_error: str | None
    privileges: Privileges
    uid: int
    memlock_unlimited: bool
    lockdown: str | None
    user_namespace: int
    seccomp: int
    bcc: str | None
    bcc_error: str | None

    @property
    def version(self) -> tuple[int, int] | None:
        found = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def missing(self) -> list[str]:
        """Capabilities that capture needs and this process does not have."""
        have = self.privileges.effective
        wanted = [name for name in ("BPF", "PERFMON") if name not in have and "SYS_ADMIN" not in have]
        if (self.version or _NO_MEMLOCK) < _NO_MEMLOCK and not self.memlock_unlimited and "SYS_RESOURCE" not in have:
            wanted.append("SYS_RESOURCE")
        return wanted


EPERM: Final = os.strerror(errno.EPERM)


def read_node() -> Node:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    libbpf_error, btf_error, ring_error = _try_bpf()
    bcc, bcc_error = _try_bcc()
    found = re.search(r"^Seccomp:\s*(\d)", status, re.MULTILINE)
    try:
        lockdown = Path("/sys/kernel/security/lockdown").read_text(encoding="ascii", errors="replace")
    except OSError:
        lockdown = None
    return Node(
        release=os.uname().release,
        libbpf_error=libbpf_error,
        btf_error=btf_error,
        ring_error=ring_error,
        privileges=privileges(status),
        uid=os.geteuid(),
        memlock_unlimited=resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY,
        lockdown=lockdown,
        user_namespace=Path("/proc/self/ns/user").stat().st_ino,
        seccomp=int(found[1]) if found else 0,
        bcc=bcc,
        bcc_error=bcc_error,
    )


def _try_bpf() -> tuple[str | None, str | None, str | None]:
    """What is wrong with libbpf, BTF, the ring buffer."""
    try:
        offset_flags(Btf.of_running_kernel())
        btf_error = None
    except BtfMissing as error:
        btf_error = str(error)
    except OSError as error:
        return str(error.strerror or error), None, None
    try:
        check_ring_buffer()
    except Refused as error:
        return None, btf_error, EPERM if error.what == "permission" else str(error)
    return None, btf_error, None


def _try_bcc() -> tuple[str | None, str | None]:
    """BCC's version, what is wrong with it. In a process of its own: LLVM takes 100 MB, and a broken library may crash it."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT_BCC], capture_output=True, text=True, timeout=_IMPORT_BCC_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    lines = done.stderr.strip().splitlines()
    return (done.stdout.strip(), None) if done.returncode == 0 else (None, lines[-1] if lines else f"exit {done.returncode}")


def judge_node(node: Node) -> Iterator[CheckResult]:
    yield _kernel(node)
    if node.libbpf_error is not None:
        yield fail("libbpf", node.libbpf_error, "install libbpf1, on which Debian's python3-bpfcc depends")
    else:
        yield _btf(node)
        yield _ring(node)
    yield _capabilities(node)
    yield _user_namespace(node)
    yield _lockdown(node)
    yield _seccomp(node)
    yield _bcc(node)


def _kernel(node: Node) -> CheckResult:
    if node.version is None:
        return warn("kernel", f"Linux {node.release}: an unknown version", "forklore needs 5.10 or newer, with BTF")
    if node.version < _OLDEST_KERNEL:
        return fail("kernel", f"Linux {node.release} is too old", "forklore needs 5.10 or newer, with BTF")
    return ok("kernel", f"Linux {node.release}; 5.10 or newer is needed")


def _btf(node: Node) -> CheckResult:
    if node.btf_error is None:
        return ok("BTF", "has all fields that are read")
    cure = "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (every distribution's since 2020); in a container /sys must be mounted"
    return fail("BTF", node.btf_error, cure)


def _ring(node: Node) -> CheckResult:
    if node.ring_error is None:
        return ok("ring buffer", "can be created")
    if node.ring_error == EPERM:
        return skipped("ring buffer", "bpf() is refused: see capabilities, user namespace, lockdown, seccomp")
    return fail("ring buffer", node.ring_error, "forklore needs Linux 5.10 or newer")


def _capabilities(node: Node) -> CheckResult:
    if not node.missing:
        extra = " (by SYS_ADMIN)" if "BPF" not in node.privileges.effective else ""
        return ok("capabilities", f"BPF and PERFMON are present{extra}")
    names = ", ".join(node.missing)
    if node.uid != 0 and node.privileges.bounding.issuperset(node.missing):
        return fail("capabilities", f"{names} missing: user {node.uid} gets none", "set securityContext.runAsUser: 0")
    return fail("capabilities", f"{names} missing", f"{_GRANT}: [{names}]")


def _user_namespace(node: Node) -> CheckResult:
    if node.user_namespace == _INITIAL_USER_NS:
        return ok("user namespace", "the node's own")
    cure = "remove hostUsers: false from the pod, or run it outside of the rootless container"
    return fail("user namespace", "not the node's own: bpf() ignores the capabilities in it", cure)


def _lockdown(node: Node) -> CheckResult:
    if node.lockdown is None:
        return skipped("lockdown", "not readable: securityfs is not mounted here, or the kernel has no lockdown")
    found = re.search(r"\[(\w+)\]", node.lockdown)
    mode = found[1] if found else node.lockdown.strip()
    if mode == "confidentiality":
        cure = "boot with lockdown=integrity or without: confidentiality forbids reading kernel memory, as every tracer does"
        return fail("lockdown", mode, cure)
    return ok("lockdown", mode)


def _seccomp(node: Node) -> CheckResult:
    refused = node.ring_error == EPERM and not node.missing and node.user_namespace == _INITIAL_USER_NS
    if refused and node.seccomp:
        cure = "seccompProfile: {type: RuntimeDefault} with containerd, CRI-O or Docker from 2021 on; or Unconfined"
        return fail("seccomp", "the profile forbids bpf(), though the capabilities are present", cure)
    if refused:
        cure = "see the audit log: SELinux needs a policy or type spc_t; sysctl kernel.bpf_* and LSMs may forbid it, too"
        return fail("security modules", "bpf() is refused, though the capabilities are present", cure)
    permits = node.seccomp and node.ring_error is None
    return ok("seccomp", "a profile is active, and permits bpf()" if permits else "does not refuse bpf()")


def _bcc(node: Node) -> CheckResult:
    cure = "apt-get install python3-bpfcc, and run with the distribution's Python; the bcc on PyPI is another package"
    if node.bcc is None:
        return fail("BCC", f"{sys.executable} can't import it: {node.bcc_error}", cure)
    found = re.match(r"(\d+)\.(\d+)", node.bcc)
    if found and (int(found[1]), int(found[2])) < _OLDEST_BCC:
        return fail("BCC", f"{node.bcc} is too old", "0.26 or newer is needed: Debian 12's")
    return ok("BCC", node.bcc)
