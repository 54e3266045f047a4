"""A short-lived process that compiles the BPF programs with BCC, loads them, sends their descriptors, and exits.

LLVM costs 125 MB of memory, which the exit frees. `python -m agent.kernel.loader` reads its request (JSON) from descriptor 0, a
Unix socket, and answers there: one JSON object and, on success, the descriptors that it names, in that order. What BCC and the
compiler print goes to stderr, which the parent reads. This is the only module that imports bcc.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from agent.kernel.libbpf import load_libbpf
from agent.kernel.offsets import Btf, BtfMissing, offset_flags
from agent.kernel.pins import MAP_PINS

__all__ = ["TRACEPOINTS", "BuildOptions", "compute_fingerprint", "main", "sources"]

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

_TEXTS: Final = ("counters.c", "cgroups.c", "fork.c")  # compiled as one text: BCC takes map operations from no other file
_MAKERS: Final = ("loader.py", "offsets.py", "records.py")  # of this folder: the programs depend on them
_RING_QUERY: Final = "-DRING_QUERY"
_RINGBUF: Final = 27  # BPF_MAP_TYPE_RINGBUF


@dataclass(frozen=True)
class BuildOptions:
    """What the programs are compiled for. `ring_bytes`, `cgroup_event_bytes`: of the two ring buffers. `max_tracked`,
    `max_host_cgroups`: entries of the maps. `hierarchy`, `controller`, `part`: of cgroups, as in
    `open_capture`."""

    ring_bytes: int
    cgroup_event_bytes: int
    max_tracked: int
    max_host_cgroups: int
    hierarchy: int
    controller: str | None
    part: int = 0


def sources() -> Path:
    """The folder of the BPF programs: beside the packages in a checkout, inside the package when installed."""
    installed = Path(__file__).parents[1] / "bpf"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "bpf"


def compute_fingerprint(options: BuildOptions) -> str:
    """16 hex digits: of the programs' sources, of how they are compiled, and of the options. The kernel's offsets are not part
    of it, because a pin does not outlive the boot."""
    digest = hashlib.sha256()
    folder = sources()
    for file in (
        *(folder / name for name in _TEXTS),
        *sorted(folder.rglob("*.h")),
        *(Path(__file__).with_name(one) for one in _MAKERS),
    ):
        digest.update(file.read_bytes())
    digest.update(json.dumps(asdict(options), sort_keys=True).encode())
    return digest.hexdigest()[:16]


class Refused(Exception):
    """The programs cannot be loaded. `what` is one of: kernel, permission, bcc."""

    def __init__(self, what: str, text: str) -> None:
        super().__init__(text)
        self.what = what


def check_ring_buffer() -> None:
    """Creates the smallest ring buffer, to learn whether the kernel has them. Raises Refused."""
    lib = load_libbpf()
    descriptor = lib.bpf_map_create(_RINGBUF, b"forklore_try", 0, 0, os.sysconf("SC_PAGE_SIZE"), None)
    if descriptor >= 0:
        os.close(descriptor)
        return
    number = -descriptor
    if number in (errno.EPERM, errno.EACCES):
        raise Refused("permission", "the kernel refused bpf(): " + os.strerror(number))
    raise Refused("kernel", f"the kernel has no BPF ring buffer (it came with 5.8): {os.strerror(number)}")


def compiler_flags(options: BuildOptions) -> list[str]:
    """The running kernel's offsets, and the options. Raises BtfMissing."""
    btf = Btf.of_running_kernel()
    page = os.sysconf("SC_PAGE_SIZE")
    values = {
        "PAGE_SIZE": page,
        "RING_PAGES": options.ring_bytes // page,
        "RING_BYTES": options.ring_bytes,
        "CGROUP_EVENT_PAGES": options.cgroup_event_bytes // page,
        "MAX_TRACKED": options.max_tracked,
        "MAX_HOST_CGROUPS": options.max_host_cgroups,
        "HIERARCHY": options.hierarchy,
    }
    if options.part:
        values["PART"] = options.part
    if options.controller is not None:
        values["SUBSYS"] = btf.enumerator("cgroup_subsys_id", f"{options.controller}_cgrp_id")
    return offset_flags(btf) + [f"-D{name}={value}" for name, value in values.items()]


class Loaded(NamedTuple):
    """`descriptors`: by name. `shares_ring`: as in agent.kernel.meta. `alive`: what must stay alive until they are sent."""

    descriptors: dict[str, int]
    shares_ring: bool
    alive: list[object]


def load(options: BuildOptions, *, dispatcher: bool) -> Loaded:
    """Compiles and loads the programs, and dispatch.c if `dispatcher`. Raises Refused and BtfMissing."""
    try:
        cflags = compiler_flags(options)
        check_ring_buffer()
    except OSError as error:
        raise Refused("permission", str(error)) from error
    folder = sources()
    os.environ["BCC_KERNEL_SOURCE"] = str(folder)
    try:
        import bcc  # noqa: PLC0415  BCC_KERNEL_SOURCE must be set first

        compile_source = bcc.BPF  # PyPI has a `bcc`, too, which has nothing to do with BPF
    except (ImportError, AttributeError) as error:
        raise Refused("bcc", f"this Python has no BCC ({error}): it is the distribution's package, not PyPI's `bcc`") from error
    cflags += [f"-I{folder}", f"-I{folder / 'include'}"]
    try:
        try:
            descriptors, programs = _load_programs(compile_source, folder, [*cflags, _RING_QUERY])
            shares_ring = True
        except Exception:  # BCC raises nothing narrower. bpf/fork.c says what this BCC may do in another way
            descriptors, programs = _load_programs(compile_source, folder, cflags)
            shares_ring = False
        alive = [programs]
        if dispatcher:
            attached = compile_source(text=(folder / "dispatch.c").read_bytes(), cflags=cflags)
            descriptors |= {f"dispatch-{name}": attached.get_table(name.encode()).map_fd for name in DISPATCHER_MAPS}
            for number, (tracepoint, _) in enumerate(TRACEPOINTS):
                program = attached.load_func(f"tracepoint_{number}".encode(), compile_source.RAW_TRACEPOINT)
                descriptors[f"hook-{tracepoint}"] = program.fd
            alive.append(attached)
    except Exception as error:  # BCC raises nothing narrower
        raise Refused("kernel", f"BCC could not load the programs: {error}") from error
    return Loaded(descriptors, shares_ring, alive)


def _load_programs(compile_source: Any, folder: Path, cflags: list[str]) -> tuple[dict[str, int], object]:  # noqa: ANN401  BCC's
    """Returns descriptors by name, and BCC's object. Raises what BCC raises."""
    programs = compile_source(text=b"".join((folder / name).read_bytes() for name in _TEXTS), cflags=cflags)
    descriptors = {pin: programs.get_table(name.encode()).map_fd for name, pin in MAP_PINS.items()}
    for _, function in TRACEPOINTS:
        descriptors[f"program-{function}"] = programs.load_func(function.encode(), compile_source.RAW_TRACEPOINT).fd
    return descriptors, programs


def main() -> int:
    with socket.socket(fileno=0) as parent:
        request = json.loads(parent.recv(65536))
        try:
            loaded = load(BuildOptions(**request["options"]), dispatcher=request["dispatcher"])
        except BtfMissing as error:
            answer = {"refused": "kernel", "text": str(error)}
        except Refused as error:
            answer = {"refused": error.what, "text": str(error)}
        else:
            names = json.dumps({"names": list(loaded.descriptors), "shares_ring": loaded.shares_ring}).encode()
            socket.send_fds(parent, [names], list(loaded.descriptors.values()))
            sys.stderr.flush()
            os._exit(0)  # the clean-up of BCC and LLVM would take longer than all the rest
        parent.sendall(json.dumps(answer).encode())
        return 1


if __name__ == "__main__":
    sys.exit(main())
