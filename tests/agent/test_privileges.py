"""Capabilities: read from the kernel, dropped for good, and kept where something fails without them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from agent.lifecycle.capabilities import NAMES, privileges

STATUS = """Name:\tforklore
Umask:\t0022
CapInh:\t0000000000000000
CapPrm:\t000000c000000000
CapEff:\t0000008000000000
CapBnd:\t000001ffffffffff
CapAmb:\t8000000000000000
NoNewPrivs:\t1
Seccomp:\t0
"""
root = pytest.mark.skipif(os.geteuid() != 0, reason="not root: there is nothing to give up")


def run(program):
    """In a process of its own: what is dropped does not come back."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True).stdout


def test_the_status_file_of_the_kernel_is_read():
    found = privileges(STATUS)
    assert found.permitted == {"BPF", "PERFMON"}
    assert found.effective == {"BPF"}
    assert found.inheritable == frozenset()
    assert found.bounding == set(NAMES)
    assert found.ambient == {"63"}, "a capability of a kernel to come has its number for a name"
    assert found.no_new_privs
    assert found.in_words()["permitted"] == ["BPF", "PERFMON"]


def test_each_capability_has_its_number():
    assert [NAMES.index(name) for name in ("CHOWN", "SETPCAP", "SYS_ADMIN", "SYS_RESOURCE", "PERFMON", "BPF")] == [
        0,
        8,
        21,
        24,
        38,
        39,
    ]


DROPPED = """
import os, subprocess, threading
from agent.lifecycle.capabilities import drop_except, of_process
drop_except({keep})
left = of_process()
print(sorted(left.permitted), sorted(left.effective), sorted(left.bounding), sorted(left.inheritable), left.no_new_privs)
print(subprocess.run(["grep", "CapPrm", "/proc/self/status"], capture_output=True, text=True).stdout.split()[1])
"""


@root
def test_dropped_capabilities_are_gone_also_for_executed_programs():
    first, executed = run(DROPPED.format(keep="set()")).splitlines()
    assert first == "[] [] [] [] True"
    assert int(executed, 16) == 0


@root
def test_only_the_named_capabilities_are_kept():
    first, executed = run(DROPPED.format(keep="{'DAC_READ_SEARCH', 'NOT_HERE'}")).splitlines()
    kept = "['DAC_READ_SEARCH']"
    assert first == f"{kept} {kept} {kept} [] True"
    assert int(executed, 16) == 1 << NAMES.index("DAC_READ_SEARCH")


@root
def test_a_thread_that_was_there_before_keeps_its_capabilities():
    """The caller has to drop them in each thread."""
    program = """
import threading
from agent.lifecycle.capabilities import drop_except, of_process
go, gone = threading.Event(), threading.Event()
threading.Thread(target=lambda: (go.wait(), drop_except(set()), gone.set()), daemon=True).start()
drop_except(set())
print(len(of_process().permitted) > 0)
go.set(); gone.wait()
print(len(of_process().permitted) > 0)
"""
    assert run(program).split() == ["True", "False"]


@root
def test_needed_capabilities_are_found_by_trying(tmp_path):
    theirs = tmp_path / "token"
    theirs.write_text("x")
    os.chown(theirs, 1000, 1000)
    theirs.chmod(0o600)
    tmp_path.chmod(0o755)
    program = f"""
from pathlib import Path
from agent.lifecycle.capabilities import drop_except, needed, of_process
read = Path({str(theirs)!r}).read_bytes
def broken(): raise FileNotFoundError
def refused(): raise PermissionError
found = needed([
    ("CHOWN", lambda: None), ("DAC_READ_SEARCH", read), ("DAC_OVERRIDE", read), ("BPF", broken), ("SYS_ADMIN", refused),
])
print(sorted(found), sorted(of_process().effective), len(of_process().permitted) > 1)
drop_except({{"CHOWN"}})
print(needed([("DAC_READ_SEARCH", read), ("DAC_OVERRIDE", read)]))
"""
    tried, left = run(program).splitlines()
    assert tried == "['DAC_READ_SEARCH'] ['DAC_READ_SEARCH'] True"
    assert left == "frozenset()", "what it does not have it can't keep"
