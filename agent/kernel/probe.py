"""The attached probe, as the agent holds it: descriptors that came from the loader, and what can be done with them.

The attachment lives as long as someone holds the descriptors. Must not live here: BCC (the loader's), paths and pods.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.kernel.maps import BpfMap, ProgramStats, possible_cpus, program_stats
from agent.kernel.records import (
    CHANGE,
    CHANGE_PATH,
    CHANGE_SLOT,
    CPU_ROW,
    FORK_SLOT,
    TALLY_ROW,
    CgroupChange,
    CpuRow,
    TallyRow,
)
from agent.kernel.ring import Ring

__all__ = ["CannotCapture", "NotPermitted", "Probe", "Snapshot", "forks_since_boot", "open_probe"]

_LOADER_SECONDS: Final = 120  # BCC takes 0.3 s here and 7 s under emulation; more than this is a hang
_CHANGES_BYTES: Final = 1 << 20  # 1,024 cgroups born or died between two readings
TALLY_ROWS: Final = 16384  # cgroups that forked and are not yet forgotten; 1.9 MB
OTHER: Final = 0  # the row for when the table is full


class CannotCapture(Exception):
    """This kernel, or this machine's BCC, can't do it. The text is one line: what is missing and what to do."""


class NotPermitted(CannotCapture):
    """The kernel could, and may not for us."""


@dataclass(frozen=True)
class Snapshot:
    """The tally at one moment. `proc_stat` is /proc/stat's `processes` just before and just after: the truth that the sum must
    lie between."""

    rows: dict[int, TallyRow]
    cpus: tuple[CpuRow, ...]
    misses: int
    proc_stat: tuple[int, int]

    @property
    def tasks_made(self) -> int:
        """All tasks, those among them that /proc/stat counts and no fork event tells of: io_uring's and vhost's workers."""
        return sum(cpu.newtasks + cpu.unpaired for cpu in self.cpus)


def forks_since_boot() -> int:
    """/proc/stat's `processes`: every task that was ever made, threads included."""
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        if line.startswith("processes "):
            return int(line.split()[1])
    raise CannotCapture("/proc/stat has no `processes`: is /proc the kernel's own?")


class Probe:
    """`stream` is `<boot id>.<epoch>`: the epoch is 64 random bits a load, for numbered ones repeat."""

    def __init__(self, descriptors: dict[str, int], ring_bytes: int, boot_id: str) -> None:
        self.boot_id = boot_id
        self.epoch = secrets.token_hex(8)
        self.stream = f"{boot_id}.{self.epoch}"
        self._descriptors = descriptors
        self._cpu_count = possible_cpus()
        self._config = BpfMap(descriptors["map:config"], 4, 16, 1)
        self._tally = BpfMap(descriptors["map:tally"], 8, TALLY_ROW.size, TALLY_ROWS)
        self._cpus = BpfMap(descriptors["map:cpus"], 4, CPU_ROW.size * self._cpu_count, 1)
        self.forks = Ring(descriptors["map:forks"], ring_bytes, FORK_SLOT)
        self._changes = Ring(descriptors["map:changes"], _CHANGES_BYTES, CHANGE_SLOT)
        self.attached: tuple[int, int] = (0, 0)
        self.stopped: tuple[int, int] | None = None

    def start(self, threads: bool) -> None:
        """From here on every task is counted. `threads`: send each as an event, too."""
        self._tally.put(OTHER.to_bytes(8, sys.byteorder), bytes(TALLY_ROW.size))
        before = forks_since_boot()
        self._configure(enabled=True, threads=threads)
        self.attached = (before, forks_since_boot())

    def stop(self) -> None:
        """Nothing more is counted or sent; what was stays readable."""
        if self.stopped is None:
            before = forks_since_boot()
            self._configure(enabled=False, threads=False)
            self.stopped = (before, forks_since_boot())

    def programs(self) -> dict[str, ProgramStats]:
        """What the kernel says of each program, by its name in fork.c."""
        named = ((name.partition(":"), number) for name, number in self._descriptors.items())
        return {name: program_stats(number) for (kind, _, name), number in named if kind == "program"}

    def cpus(self) -> tuple[CpuRow, ...]:
        return tuple(CpuRow(*values) for values in CPU_ROW.iter_unpack(self._cpus.get(bytes(4)) or b""))

    def snapshot(self) -> Snapshot:
        """The sum of the rows lies between the two readings of /proc/stat, less `attached`."""
        before = forks_since_boot()
        cpus = self.cpus()
        rows = {int.from_bytes(key, sys.byteorder): TallyRow(*TALLY_ROW.unpack(value)) for key, value in self._tally.items()}
        proc_stat = self.stopped or (before, forks_since_boot())
        return Snapshot(rows, cpus, sum(stats.misses for stats in self.programs().values()), proc_stat)

    def forget(self, cgroup: int) -> None:
        """Drop a dead cgroup's row. Only when its last counts have been taken over."""
        self._tally.remove(cgroup.to_bytes(8, sys.byteorder))

    def changes(self) -> Iterator[CgroupChange]:
        """The cgroups that were born, died and were entered since the last call, in order."""
        while taken := self._changes.take(1024):
            for cgroup, parent, time, change, length, _sequence, start, tid, path in CHANGE.iter_unpack(taken):
                whole = 0 < length < CHANGE_PATH
                yield CgroupChange(cgroup, parent, time, change, path[: max(length - 1, 0)], whole, tid, start)
            self._changes.publish(self._changes.cursor)

    def close(self) -> None:
        """Detaches: nobody else holds the descriptors."""
        self.forks.close()
        self._changes.close()
        for number in self._descriptors.values():
            os.close(number)
        self._descriptors = {}

    def _configure(self, *, enabled: bool, threads: bool) -> None:
        value = int(enabled).to_bytes(8, sys.byteorder) + int(threads).to_bytes(8, sys.byteorder)
        self._config.put(bytes(4), value)


def open_probe(ring_bytes: int, hierarchy: int, controller: str | None) -> Probe:
    """Runs the loader; the probe is attached on return and counts nothing until `start`.

    `ring_bytes`: a power of two and of whole pages. `hierarchy`: the cgroup hierarchy's number in /proc/self/cgroup;
    `controller`: one that is mounted there (v1), None for v2. Raises CannotCapture or NotPermitted.
    """
    orders = {
        "ring_bytes": ring_bytes,
        "changes_bytes": _CHANGES_BYTES,
        "tally_rows": TALLY_ROWS,
        "hierarchy": hierarchy,
        "controller": controller,
    }
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            command = [sys.executable, "-m", "agent.kernel.loader"]
            child = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            ours.settimeout(_LOADER_SECONDS)
            ours.send(json.dumps(orders).encode())
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
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return Probe(dict(zip(said["names"], descriptors, strict=True)), ring_bytes, boot_id)


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
