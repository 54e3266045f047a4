"""Runs the loader, the short-lived process that has BCC, and takes its descriptors over.

Must not live here: BCC itself (the loader's), and what the descriptors are for.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any, Final

__all__ = ["CannotCapture", "NotPermitted", "compiled"]

_LOADER_SECONDS: Final = 120  # BCC takes 0.3 s here and 7 s under emulation; more than this is a hang


class CannotCapture(Exception):
    """This kernel, or this machine's BCC, can't do it. The text is one line: what is missing and what to do."""


class NotPermitted(CannotCapture):
    """The kernel could, and may not for us."""


def compiled(orders: dict[str, Any], *, dispatcher: bool) -> dict[str, int]:
    """Descriptors of a probe that was made to order, by name, and of a dispatcher if wanted. Nothing is attached yet.

    Raises CannotCapture or NotPermitted.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            command = [sys.executable, "-m", "agent.kernel.loader"]
            child = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            ours.settimeout(_LOADER_SECONDS)
            ours.send(json.dumps({"orders": orders, "dispatcher": dispatcher}).encode())
            answer, descriptors, _flags, _address = socket.recv_fds(ours, 65536, 64)
        except (TimeoutError, OSError) as error:
            child.kill()
            raise CannotCapture(f"the probe's loader did not answer ({error}): {_complaint(child)}") from error
    complaint = _complaint(child)
    if not answer:
        raise CannotCapture(f"the probe's loader died (exit {child.returncode}): {complaint}")
    said = json.loads(answer)
    if "refused" in said:
        raise _refusal(said["refused"], said["text"], complaint)
    return dict(zip(said["names"], descriptors, strict=True))


def _complaint(child: subprocess.Popen[bytes]) -> str:
    _out, errors = child.communicate(timeout=_LOADER_SECONDS)
    lines = [line.strip() for line in errors.decode(errors="replace").splitlines() if line.strip()]
    # The compiler's and the verifier's own words, the telling ones last.
    return " | ".join(lines[-3:])


def _refusal(what: str, text: str, complaint: str) -> CannotCapture:
    remedies = {
        "permission": "run as root, or with CAP_BPF and CAP_PERFMON (below kernel 5.11 CAP_SYS_RESOURCE, too) and a seccomp"
        " profile that allows bpf()",
        "kernel": "forklore needs Linux 5.10 or newer with BTF (CONFIG_DEBUG_INFO_BTF=y)",
        "bcc": "install it (apt-get install python3-bpfcc) and run with the distribution's Python",
    }
    if "Operation not permitted" in complaint and what == "kernel":
        what = "permission"
    line = f"{text}: {remedies[what]}" + (f" [{complaint}]" if complaint else "")
    return NotPermitted(line) if what == "permission" else CannotCapture(line)
