"""Runs the loader, the short-lived process that has BCC (agent.kernel.loader), and receives its descriptors."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import asdict
from typing import Final, NamedTuple

from agent.kernel.loader import BuildOptions

__all__ = ["CannotCapture", "CompiledPrograms", "NotPermitted", "compile_programs"]

_LOADER_SECONDS: Final = 120  # BCC takes 0.3 s, and 7 s under emulation; a loader that takes longer hangs


class CannotCapture(Exception):
    """Capture is not possible with this kernel or this BCC. The text is one line: what is missing and what to do."""


class NotPermitted(CannotCapture):
    """The kernel supports capture, and refuses it to this process."""


class CompiledPrograms(NamedTuple):
    """`descriptors`: by name. `shares_ring`: as in agent.kernel.meta."""

    descriptors: dict[str, int]
    shares_ring: bool


def compile_programs(options: BuildOptions, *, dispatcher: bool) -> CompiledPrograms:
    """Compiles and loads fork.c, and dispatch.c if `dispatcher`. Nothing is attached yet.

    Raises CannotCapture or NotPermitted.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            command = [sys.executable, "-m", "agent.kernel.loader"]
            child = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            ours.settimeout(_LOADER_SECONDS)
            ours.send(json.dumps({"options": asdict(options), "dispatcher": dispatcher}).encode())
            message, descriptors, _flags, _address = socket.recv_fds(ours, 65536, 64)
        except (TimeoutError, OSError) as error:
            child.kill()
            raise CannotCapture(f"the BPF loader did not answer ({error}): {_last_lines(child)}") from error
    last_lines = _last_lines(child)
    if not message:
        raise CannotCapture(f"the BPF loader died (exit {child.returncode}): {last_lines}")
    answer = json.loads(message)
    if "refused" in answer:
        raise _refusal(answer["refused"], answer["text"], last_lines)
    return CompiledPrograms(dict(zip(answer["names"], descriptors, strict=True)), answer["shares_ring"])


def _last_lines(child: subprocess.Popen[bytes]) -> str:
    """Of what the compiler and the verifier printed: the last lines name the error."""
    _out, errors = child.communicate(timeout=_LOADER_SECONDS)
    lines = [line.strip() for line in errors.decode(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-3:])


def _refusal(what: str, text: str, last_lines: str) -> CannotCapture:
    remedies = {
        "permission": "run as root, or with CAP_BPF and CAP_PERFMON (below kernel 5.11 CAP_SYS_RESOURCE, too) and a seccomp"
        " profile that allows bpf()",
        "kernel": "forklore needs Linux 5.10 or newer with BTF (CONFIG_DEBUG_INFO_BTF=y)",
        "bcc": "install it (apt-get install python3-bpfcc) and run with the distribution's Python",
    }
    if "Operation not permitted" in last_lines and what == "kernel":
        what = "permission"
    line = f"{text}: {remedies[what]}" + (f" [{last_lines}]" if last_lines else "")
    return NotPermitted(line) if what == "permission" else CannotCapture(line)
