"""Captures and pins as version 0.1 did, with its programs (programs.c), until it is killed.

`python -m tests.kernel.layout_1.pin FOLDER` prints the stream when it captures. It reads nothing from the ring. The dispatcher
is today's, which never changes.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.attribution.hierarchy import choose_hierarchy
from agent.kernel.capture import _attach, build_options
from agent.kernel.loader import DISPATCHER_MAPS, TRACEPOINTS, compiler_flags, sources
from agent.kernel.maps import BpfMap, array_map
from agent.kernel.meta import META_BYTES, Meta, encode_meta
from agent.kernel.pins import ATTRIBUTIONS_PIN_1, COUNTERS_PIN_1, Pins
from agent.kernel.programs import boot_id, forks_since_boot
from agent.kernel.records import CGROUP_COUNTERS, CONFIG_1

MAPS: Final = {
    "config": "map-config",
    "forks": "map-forks",
    "cgroup_events": "map-changes",
    "cgroup_counters": COUNTERS_PIN_1,
    "cpu_counters": "map-cpus",
    "cgroup_attributions": ATTRIBUTIONS_PIN_1,
    "storms": "map-storms",
}
RING_BYTES: Final = 16 << 20
ALIVE_NS: Final = 300 * 10**9
FIRST: Final = bytes(4)


def load() -> dict[str, int]:
    """Compiles the programs and the dispatcher. Returns descriptors by name, as agent.kernel.loader does."""
    os.environ["BCC_KERNEL_SOURCE"] = str(sources())
    import bcc  # noqa: PLC0415  BCC_KERNEL_SOURCE must be set first

    here = choose_hierarchy(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    flags = compiler_flags(build_options(RING_BYTES, here.number, here.controller))
    flags += ["-DMAX_CGROUPS=16384", "-DMAX_PODS=4096", f"-I{sources() / 'include'}"]
    kind = bcc.BPF.RAW_TRACEPOINT
    programs = bcc.BPF(text=Path(__file__).with_name("programs.c").read_bytes(), cflags=flags)
    dispatcher = bcc.BPF(text=(sources() / "dispatch.c").read_bytes(), cflags=flags)
    found = {pin: programs.get_table(name.encode()).map_fd for name, pin in MAPS.items()}
    found |= {f"program-{name}": programs.load_func(name.encode(), kind).fd for _, name in TRACEPOINTS}
    found |= {f"dispatch-{name}": dispatcher.get_table(name.encode()).map_fd for name in DISPATCHER_MAPS}
    for number, (tracepoint, _) in enumerate(TRACEPOINTS):
        found[f"hook-{tracepoint}"] = dispatcher.load_func(f"tracepoint_{number}".encode(), kind).fd
    return {name: os.dup(descriptor) for name, descriptor in found.items()}


def main() -> None:
    pins, loaded = Pins(Path(sys.argv[1])), load()
    dispatcher = _attach({name: one for name, one in loaded.items() if name.startswith(("dispatch-", "hook-"))}, pins)
    maps = {name: one for name, one in loaded.items() if name.startswith("map-")}
    maps["meta"] = array_map("forklore_meta", META_BYTES)
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    meta = Meta(1, 256, "0123456789abcdef", secrets.token_hex(8), boot_id(), RING_BYTES, 0, now)
    BpfMap(maps[COUNTERS_PIN_1], 8, CGROUP_COUNTERS.size, 16384).put(bytes(8), bytes(CGROUP_COUNTERS.size))
    pins.put(meta.instance_id, maps)
    slots = BpfMap(dispatcher["slots"], 4, 4, 16)
    for number, (_, function) in enumerate(TRACEPOINTS):
        slots.put(number.to_bytes(4, sys.byteorder), loaded[f"program-{function}"].to_bytes(4, sys.byteorder))
    BpfMap(dispatcher["base"], 4, 4, 1).put(FIRST, FIRST)
    before = forks_since_boot()
    BpfMap(maps["map-config"], 4, CONFIG_1.size, 1).put(FIRST, CONFIG_1.pack(1, 0, 0, now + ALIVE_NS))
    meta = replace(meta, attached=(before, forks_since_boot()))
    BpfMap(maps["meta"], 4, META_BYTES, 1).put(FIRST, encode_meta(meta))
    sys.stdout.write(f"{meta.stream}\n")
    sys.stdout.flush()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
