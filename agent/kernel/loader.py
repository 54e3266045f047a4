"""A short-lived process that compiles the probe with BCC, loads it, hands its descriptors over, and goes with LLVM's 125 MB.

`python -m agent.kernel.loader`: reads its orders (JSON) from descriptor 0, a Unix socket, and answers there: one JSON line and,
on success, the descriptors it names, in that order. What BCC and the compiler print goes to stderr, which the parent keeps.
The one importer of bcc. Must not live here: attaching, pinning, and anything that runs after the load.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, Final

from agent.kernel.libbpf import load_libbpf
from agent.kernel.offsets import Btf, BtfMissing, offset_flags
from agent.kernel.pins import MAP_PINS

__all__ = ["TRACEPOINTS", "digest", "main", "sources"]

# (raw tracepoint, program of fork.c), in the order of dispatch.c's numbers. They are attached in this order: the events of
# cgroups must be there before the forks in them, and clone's flags before their fork.
TRACEPOINTS: Final = (
    ("cgroup_mkdir", "on_cgroup_mkdir"),
    ("cgroup_rmdir", "on_cgroup_rmdir"),
    ("task_newtask", "on_newtask"),
    ("sched_process_fork", "on_fork"),
    ("cgroup_attach_task", "on_cgroup_attach"),
)
DISPATCHER_MAPS: Final = ("slots", "base")

_MAKERS: Final = ("loader.py", "offsets.py", "records.py")  # of this folder: what they say goes into the probe
_RINGBUF: Final = 27  # BPF_MAP_TYPE_RINGBUF


def sources() -> Path:
    """The folder with fork.c: beside the packages in a checkout, inside the package when installed."""
    installed = Path(__file__).parents[1] / "bpf"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "bpf"


def digest(orders: dict[str, Any]) -> str:
    """16 hex digits for what a probe is made of: its source, how it is compiled, for what. The kernel, and so its offsets,
    can't change while the boot lasts that a pinned probe lasts for."""
    made = hashlib.sha256()
    folder = sources()
    for file in (
        folder / "fork.c",
        *sorted((folder / "include").rglob("*.h")),
        *(Path(__file__).with_name(one) for one in _MAKERS),
    ):
        made.update(file.read_bytes())
    made.update(json.dumps(orders, sort_keys=True).encode())
    return made.hexdigest()[:16]


class Refused(Exception):
    """The kernel, or its keeper, won't have the probe. `what` is one of: kernel, permission, bcc."""

    def __init__(self, what: str, text: str) -> None:
        super().__init__(text)
        self.what = what


def check_ring_buffer() -> None:
    """Makes the smallest ring there is and lets it go again: the plainest way to ask. Raises Refused."""
    lib = load_libbpf()
    descriptor = lib.bpf_map_create(_RINGBUF, b"forklore_try", 0, 0, os.sysconf("SC_PAGE_SIZE"), None)
    if descriptor >= 0:
        os.close(descriptor)
        return
    number = -descriptor
    if number in (errno.EPERM, errno.EACCES):
        raise Refused("permission", "the kernel refused bpf(): " + os.strerror(number))
    raise Refused("kernel", f"the kernel has no BPF ring buffer (it came with 5.8): {os.strerror(number)}")


def flags(orders: dict[str, Any]) -> list[str]:
    """What fork.c is compiled with: the running kernel's offsets and the sizes that were ordered. Raises BtfMissing."""
    btf = Btf.of_running_kernel()
    page = os.sysconf("SC_PAGE_SIZE")
    given = {
        "PAGE_SIZE": page,
        "RING_PAGES": orders["ring_bytes"] // page,
        "CGROUP_EVENT_PAGES": orders["changes_bytes"] // page,
        "MAX_CGROUPS": orders["tally_rows"],
        "MAX_PODS": orders["storm_rows"],
        "HIERARCHY": orders["hierarchy"],
    }
    if orders["controller"] is not None:
        given["SUBSYS"] = btf.enumerator("cgroup_subsys_id", f"{orders['controller']}_cgrp_id")
    return offset_flags(btf) + [f"-D{name}={value}" for name, value in given.items()]


def load(orders: dict[str, Any], dispatcher: bool) -> tuple[dict[str, int], object]:
    """Compiles and loads the probe and, if wanted, the dispatcher. Returns descriptors by name, and what must stay alive until
    they are sent. Raises Refused and BtfMissing."""
    try:
        cflags = flags(orders)
        check_ring_buffer()
    except OSError as error:
        raise Refused("permission", str(error)) from error
    folder = sources()
    os.environ["BCC_KERNEL_SOURCE"] = str(folder)
    try:
        import bcc  # noqa: PLC0415  BCC_KERNEL_SOURCE must be set first

        compiled = bcc.BPF  # PyPI has a `bcc`, too, which has nothing to do with BPF
    except (ImportError, AttributeError) as error:
        raise Refused("bcc", f"this Python has no BCC ({error}): it is the distribution's package, not PyPI's `bcc`") from error
    include = f"-I{folder / 'include'}"
    try:
        programs = compiled(text=(folder / "fork.c").read_bytes(), cflags=[*cflags, include])
        named = {pin: programs.get_table(name.encode()).map_fd for name, pin in MAP_PINS.items()}
        for _, function in TRACEPOINTS:
            named[f"program-{function}"] = programs.load_func(function.encode(), compiled.RAW_TRACEPOINT).fd
        alive = [programs]
        if dispatcher:
            door = compiled(text=(folder / "dispatch.c").read_bytes(), cflags=[*cflags, include])
            named |= {f"dispatch-{name}": door.get_table(name.encode()).map_fd for name in DISPATCHER_MAPS}
            for number, (tracepoint, _) in enumerate(TRACEPOINTS):
                named[f"hook-{tracepoint}"] = door.load_func(f"tracepoint_{number}".encode(), compiled.RAW_TRACEPOINT).fd
            alive.append(door)
    except Exception as error:  # BCC raises nothing narrower
        raise Refused("kernel", f"BCC could not load the probe: {error}") from error
    return named, alive


def main() -> int:
    with socket.socket(fileno=0) as door:
        wanted = json.loads(door.recv(65536))
        try:
            named, alive = load(wanted["orders"], wanted["dispatcher"])
        except BtfMissing as error:
            answer = {"refused": "kernel", "text": str(error)}
        except Refused as error:
            answer = {"refused": error.what, "text": str(error)}
        else:
            socket.send_fds(door, [json.dumps({"names": list(named)}).encode()], list(named.values()))
            del alive
            sys.stderr.flush()
            os._exit(0)  # BCC's own clean-up and LLVM's would take longer than all the rest
        door.sendall(json.dumps(answer).encode())
        return 1


if __name__ == "__main__":
    sys.exit(main())
