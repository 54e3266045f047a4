"""Two capabilities are enough. Below kernel 5.11 BPF's memory counts as locked; then its limit must be high enough, too."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .agent_process import Agent, until
from .forks import make_forks
from .test_refusals import agent as run_agent
from .test_refusals import only_line

pytestmark = pytest.mark.kernel

TWO = ("setpriv", "--bounding-set=-all,+bpf,+perfmon", "--inh-caps=-all", "--no-new-privs")
COUNTS_AS_LOCKED = tuple(map(int, os.uname().release.split(".")[:2])) < (5, 11)
TIGHT = ("prlimit", f"--memlock={64 << 10}")  # bytes; Linux' own default
UNLIMITED = ("prlimit", "--memlock=unlimited") if COUNTS_AS_LOCKED else ()


def capturing(agent: Agent) -> int:
    """Forks 23 times and waits until the agent has counted them. Returns its effective capabilities."""

    def captured() -> int:
        return int(agent.get("/v1/ledger")["captured"])

    before = captured()
    make_forks(23)
    until(lambda: captured() >= before + 23, "23 forks are counted")
    (effective,) = re.findall(r"^CapEff:\s+(\w+)$", Path(f"/proc/{agent.process.pid}/status").read_text(), re.MULTILINE)
    return int(effective, 16)


def test_cap_bpf_and_cap_perfmon_are_enough(start_agent: Callable[..., Agent], offline: dict[str, Any]) -> None:
    agent = start_agent(command=(*UNLIMITED, *TWO), **offline)
    assert not capturing(agent) & ~(1 << 38 | 1 << 39)  # CAP_PERFMON, CAP_BPF
    assert agent.stop()["closed"]


@pytest.mark.skipif(COUNTS_AS_LOCKED, reason="below 5.11 BPF's memory counts as locked")
def test_the_limit_on_locked_memory_does_not_matter(start_agent: Callable[..., Agent], offline: dict[str, Any]) -> None:
    capturing(start_agent(command=(*TIGHT, *TWO), **offline))


@pytest.mark.skipif(not COUNTS_AS_LOCKED, reason="from 5.11 on BPF's memory does not count as locked")
def test_with_too_low_a_limit_on_locked_memory_it_reports_what_is_missing(tmp_path: Path) -> None:
    answer = run_agent(tmp_path, *TIGHT, *TWO)
    assert answer.returncode == 77
    assert "CAP_SYS_RESOURCE" in only_line(answer)


@pytest.mark.skipif(not COUNTS_AS_LOCKED, reason="from 5.11 on BPF's memory does not count as locked")
def test_cap_sys_resource_lifts_the_limit_on_locked_memory(start_agent: Callable[..., Agent], offline: dict[str, Any]) -> None:
    three = tuple(word.replace("+perfmon", "+perfmon,+sys_resource") for word in TWO)
    capturing(start_agent(command=(*TIGHT, *three), **offline))
