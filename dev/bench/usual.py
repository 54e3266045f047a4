"""The usual BCC script, for comparison: a Python callback for every event, json.dumps, a line on stdout.

It carries six fields where forklore carries forty-odd, knows no pods and sends nothing over HTTP, so the comparison favours it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from agent.kernel.loader import sources
from agent.kernel.offsets import Btf, offset_flags

PROGRAM = """
#include <linux/types.h>
struct event { u32 parent, child; u64 time; char comm[16]; char parent_comm[16]; };
BPF_RINGBUF_OUTPUT(events, 4096);
RAW_TRACEPOINT_PROBE(sched_process_fork)
{
    struct event *e = events.ringbuf_reserve(sizeof(*e));
    if (!e)
        return 0;
    e->time = bpf_ktime_get_boot_ns();
    bpf_probe_read_kernel(&e->parent, 4, (void *)(ctx->args[0] + OFF_task_struct__pid));
    bpf_probe_read_kernel(&e->child, 4, (void *)(ctx->args[1] + OFF_task_struct__pid));
    bpf_probe_read_kernel(e->comm, 16, (void *)(ctx->args[1] + OFF_task_struct__comm));
    bpf_probe_read_kernel(e->parent_comm, 16, (void *)(ctx->args[0] + OFF_task_struct__comm));
    events.ringbuf_submit(e, 0);
    return 0;
}
"""


def main() -> None:
    folder = sources()
    os.environ["BCC_KERNEL_SOURCE"] = str(folder)
    import bcc  # noqa: PLC0415  BCC_KERNEL_SOURCE must be set first

    flags = [*offset_flags(Btf.of_running_kernel()), f"-DPAGE_SIZE={os.sysconf('SC_PAGE_SIZE')}", f"-I{folder / 'include'}"]
    program = bcc.BPF(text=PROGRAM.encode(), cflags=flags)

    def print_event(_context: object, data: int, _size: int) -> None:
        event = program["events"].event(data)
        line = {
            "parent": event.parent,
            "child": event.child,
            "time": event.time,
            "comm": event.comm.decode(errors="replace"),
            "parent_comm": event.parent_comm.decode(errors="replace"),
            "host": os.uname().nodename,
        }
        sys.stdout.write(json.dumps(line) + "\n")

    program["events"].open_ring_buffer(print_event)
    Path(sys.argv[1]).touch()
    while True:
        program.ring_buffer_poll(100)


main()
