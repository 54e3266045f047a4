"""The kernel and what it lets this process do: version, BTF, the ring buffer, capabilities, lockdown, namespaces, seccomp; BCC.

Must not live here: what is mounted where (places), what another agent left (leftovers).
"""

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

from agent.doctor.check_result import Finding, fail, ok, skipped, warn
from agent.kernel.loader import Refused, check_ring_buffer
from agent.kernel.offsets import Btf, BtfMissing, offset_flags
from agent.lifecycle.capabilities import Privileges, privileges

__all__ = ["Node", "judge_node", "read_node"]

FLOOR: Final = (5, 10)
_NO_MEMLOCK: Final = (5, 11)  # from here on BPF memory is charged to the cgroup, not to RLIMIT_MEMLOCK
_BCC_FLOOR: Final = (0, 26)
_INITIAL: Final = 0xEFFFFFFD  # PROC_USER_INIT_INO: the inode of the first user namespace
_BCC: Final = "import bcc; bcc.BPF; print(bcc.__version__)"
_BCC_S: Final = 60.0  # LLVM is 100 MB to read from a cold disk
_GIVE: Final = "run it as root, or in a pod with securityContext.capabilities.add"


@dataclass(frozen=True)
class Node:
    """`btf`, `libbpf`, `bcc_trouble`: what is wrong, None: nothing. `bpf`: why the smallest ring could not be made; `EPERM`
    when it was forbidden. `lockdown`: the kernel's file, None: it can't be seen. `seccomp`: as /proc/<pid>/status has it."""

    release: str
    libbpf: str | None
    btf: str | None
    bpf: str | None
    privileges: Privileges
    uid: int
    memlock_unlimited: bool
    lockdown: str | None
    user_namespace: int
    seccomp: int
    bcc: str | None
    bcc_trouble: str | None

    @property
    def version(self) -> tuple[int, int] | None:
        found = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def missing(self) -> list[str]:
        """Capabilities that capture needs and this process has not."""
        have = self.privileges.effective
        wanted = [name for name in ("BPF", "PERFMON") if name not in have and "SYS_ADMIN" not in have]
        if (self.version or _NO_MEMLOCK) < _NO_MEMLOCK and not self.memlock_unlimited and "SYS_RESOURCE" not in have:
            wanted.append("SYS_RESOURCE")
        return wanted


EPERM: Final = os.strerror(errno.EPERM)


def read_node() -> Node:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    libbpf, btf, bpf = _tried()
    bcc, bcc_trouble = _bcc()
    found = re.search(r"^Seccomp:\s*(\d)", status, re.MULTILINE)
    try:
        lockdown = Path("/sys/kernel/security/lockdown").read_text(encoding="ascii", errors="replace")
    except OSError:
        lockdown = None
    return Node(
        release=os.uname().release,
        libbpf=libbpf,
        btf=btf,
        bpf=bpf,
        privileges=privileges(status),
        uid=os.geteuid(),
        memlock_unlimited=resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY,
        lockdown=lockdown,
        user_namespace=Path("/proc/self/ns/user").stat().st_ino,
        seccomp=int(found[1]) if found else 0,
        bcc=bcc,
        bcc_trouble=bcc_trouble,
    )


def _tried() -> tuple[str | None, str | None, str | None]:
    try:
        offset_flags(Btf.of_running_kernel())
        btf = None
    except BtfMissing as error:
        btf = str(error)
    except OSError as error:
        return str(error.strerror or error), None, None
    try:
        check_ring_buffer()
    except Refused as error:
        return None, btf, EPERM if error.what == "permission" else str(error)
    return None, btf, None


def _bcc() -> tuple[str | None, str | None]:
    """In a process of its own: LLVM's 100 MB leave with it, and a library that is broken takes nobody along."""
    try:
        done = subprocess.run([sys.executable, "-c", _BCC], capture_output=True, text=True, timeout=_BCC_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    lines = done.stderr.strip().splitlines()
    return (done.stdout.strip(), None) if done.returncode == 0 else (None, lines[-1] if lines else f"exit {done.returncode}")


def judge_node(node: Node) -> Iterator[Finding]:
    yield _kernel(node)
    if node.libbpf is not None:
        yield fail("libbpf", node.libbpf, "install libbpf1, which Debian's python3-bpfcc brings along")
    else:
        yield _btf(node)
        yield _ring(node)
    yield _capabilities(node)
    yield _user_namespace(node)
    yield _lockdown(node)
    yield _seccomp(node)
    yield _bcc_found(node)


def _kernel(node: Node) -> Finding:
    if node.version is None:
        return warn("kernel", f"Linux {node.release}: no version that is understood", "it must be 5.10 or newer, with BTF")
    if node.version < FLOOR:
        return fail("kernel", f"Linux {node.release} is too old", "forklore needs 5.10 or newer, with BTF")
    return ok("kernel", f"Linux {node.release}; 5.10 is the least")


def _btf(node: Node) -> Finding:
    if node.btf is None:
        return ok("BTF", "says where all that is read lies")
    cure = "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (every distribution's since 2020); in a container /sys must be mounted"
    return fail("BTF", node.btf, cure)


def _ring(node: Node) -> Finding:
    if node.bpf is None:
        return ok("ring buffer", "can be made")
    if node.bpf == EPERM:
        return skipped("ring buffer", "bpf() is refused: see capabilities, user namespace, lockdown, seccomp")
    return fail("ring buffer", node.bpf, "forklore needs Linux 5.10 or newer")


def _capabilities(node: Node) -> Finding:
    if not node.missing:
        extra = " (by SYS_ADMIN)" if "BPF" not in node.privileges.effective else ""
        return ok("capabilities", f"BPF and PERFMON are there{extra}")
    names = ", ".join(node.missing)
    if node.uid != 0 and node.privileges.bounding.issuperset(node.missing):
        return fail("capabilities", f"{names} missing: user {node.uid} gets none", "set securityContext.runAsUser: 0")
    return fail("capabilities", f"{names} missing", f"{_GIVE}: [{names}]")


def _user_namespace(node: Node) -> Finding:
    if node.user_namespace == _INITIAL:
        return ok("user namespace", "the node's own")
    cure = "take hostUsers: false out of the pod, or run it outside of the rootless container"
    return fail("user namespace", "not the node's own: no capability in it counts for bpf()", cure)


def _lockdown(node: Node) -> Finding:
    if node.lockdown is None:
        return skipped("lockdown", "can't be seen: securityfs is not mounted here, or the kernel has none")
    found = re.search(r"\[(\w+)\]", node.lockdown)
    mode = found[1] if found else node.lockdown.strip()
    if mode == "confidentiality":
        cure = "boot with lockdown=integrity or without: confidentiality forbids to read kernel memory, as every tracer does"
        return fail("lockdown", mode, cure)
    return ok("lockdown", mode)


def _seccomp(node: Node) -> Finding:
    refused = node.bpf == EPERM and not node.missing and node.user_namespace == _INITIAL
    if refused and node.seccomp:
        cure = "seccompProfile: {type: RuntimeDefault} with containerd, CRI-O or Docker from 2021 on; or Unconfined"
        return fail("seccomp", "the profile forbids bpf(), though the capabilities are there", cure)
    if refused:
        cure = "look into the audit log: SELinux wants a policy or type spc_t; sysctl kernel.bpf_* and LSMs may forbid it, too"
        return fail("security modules", "bpf() is refused, though the capabilities are there", cure)
    passes = node.seccomp and node.bpf is None
    return ok("seccomp", "a profile is in force, and lets bpf() pass" if passes else "not in the way")


def _bcc_found(node: Node) -> Finding:
    cure = "apt-get install python3-bpfcc, and run with the distribution's Python; the bcc on PyPI is another package"
    if node.bcc is None:
        return fail("BCC", f"{sys.executable} can't import it: {node.bcc_trouble}", cure)
    found = re.match(r"(\d+)\.(\d+)", node.bcc)
    if found and (int(found[1]), int(found[2])) < _BCC_FLOOR:
        return fail("BCC", f"{node.bcc} is too old", "0.26 or newer is needed: Debian 12's")
    return ok("BCC", node.bcc)
