"""The capabilities that the agent keeps once it captures: by the kernel, for each thread, and by the agent's own report."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.lifecycle.capabilities import NAMES, Privileges, privileges

from .agent_process import Agent, until
from .conftest import Receiver

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(90)]
Start = Callable[..., Agent]

TWO = ("setpriv", "--bounding-set=-all,+bpf,+perfmon,+sys_resource", "--inh-caps=-all")
# From 5.19 on a descriptor is enough to read and write a map; distributions have it in older kernels, too.
MAPS_NEED_NO_CAPABILITY = tuple(map(int, os.uname().release.split(".")[:2])) >= (5, 19)
NOTHING: frozenset[str] = frozenset()


def threads(agent: Agent) -> dict[str, Privileges]:
    tasks = Path(f"/proc/{agent.process.pid}/task").iterdir()
    return {task.name: privileges((task / "status").read_text()) for task in tasks}


def held(agent: Agent) -> frozenset[str]:
    """Capabilities in any set of any of its threads."""
    found: set[str] = set()
    for one in threads(agent).values():
        found |= one.effective | one.permitted | one.inheritable | one.ambient
    return frozenset(found)


def works(agent: Agent, receiver: Receiver) -> None:
    """Checks that it captures, commits and delivers."""
    before = len(receiver.events)
    for _ in range(23):
        subprocess.run(["true"], check=True)
    until(lambda: len(receiver.events) >= before + 23, "23 forks arrive")
    ledger = agent.get("/v1/ledger")
    assert (ledger["closed"], ledger["journal"]) == (True, "works")


def sinks(receiver: Receiver, **more: object) -> list[dict[str, Any]]:
    return [{"name": "siem", "url": receiver.url, "batch": {"wait": "100ms"}, **more}]


@pytest.mark.parametrize("command", [(), TWO], ids=["privileged", "least-privilege"])
def test_no_thread_keeps_a_capability_that_it_does_not_need_and_the_agent_reports_them(
    pins: Path, start_agent: Start, receiver: Receiver, offline: dict[str, Any], command: tuple[str, ...]
) -> None:
    settings = {"capture": {"pin": str(pins), "summary_interval": "1s"}, **offline}
    agent = start_agent(command=command, sinks=sinks(receiver), **settings)
    works(agent, receiver)
    assert len(threads(agent)) > 1, "the journal's thread is one of them"
    assert held(agent) <= (NOTHING if MAPS_NEED_NO_CAPABILITY else {"BPF"})
    assert all(one.no_new_privs for one in threads(agent).values())
    reported = agent.get("/v1/ledger")["privileges"]
    (main,) = [one for task, one in threads(agent).items() if task == str(agent.process.pid)]
    assert reported == main.in_words()
    if not command:
        assert main.bounding == held(agent), "a program that it executes has no more"
    words = ", ".join(reported["permitted"]) or "none"
    assert f"capabilities left: {words};" in agent.log.read_text()
    assert agent.stop()["closed"]
    assert not pins.exists(), "it can still remove its pins"


def test_the_next_agent_takes_over_from_one_without_privileges(
    pins: Path, start_agent: Start, receiver: Receiver, offline: dict[str, Any]
) -> None:
    settings = {"capture": {"pin": str(pins)}, "sinks": sinks(receiver), **offline}
    first = start_agent(**settings)
    works(first, receiver)
    first.process.kill()
    first.process.wait()
    second = start_agent(**settings)
    assert second.get("/v1/ledger")["taken_over"]
    works(second, receiver)
    assert held(second) <= (NOTHING if MAPS_NEED_NO_CAPABILITY else {"BPF"})


@pytest.fixture
def reachable(tmp_path: Path) -> Path:
    """A folder that other users can reach."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/") and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    return tmp_path


def test_a_token_of_another_user_stays_readable_after_it_was_replaced(
    start_agent: Start, receiver: Receiver, offline: dict[str, Any], reachable: Path
) -> None:
    token = reachable / "token"

    def give(text: str) -> None:
        fresh = token.with_suffix(".new")
        fresh.write_text(text)
        os.chown(fresh, 1000, 1000)
        fresh.chmod(0o400)
        fresh.rename(token)

    give("one")
    agent = start_agent(sinks=sinks(receiver, token_file=str(token)), **offline)
    works(agent, receiver)
    give("two")
    works(agent, receiver)
    kept = held(agent) - {"BPF"}
    assert kept == {"DAC_READ_SEARCH"}
    assert re.search(r"capabilities left: .*DAC_READ_SEARCH", agent.log.read_text())


def test_a_state_directory_of_another_user_stays_writable(
    start_agent: Start, receiver: Receiver, offline: dict[str, Any], reachable: Path
) -> None:
    state = reachable / "theirs"
    state.mkdir(mode=0o700)
    os.chown(state, 1000, 1000)
    agent = start_agent(sinks=sinks(receiver), state_dir=str(state), **offline)
    works(agent, receiver)
    assert held(agent) - {"BPF"} == {"DAC_OVERRIDE"}
    assert (state / "journal.sqlite3").stat().st_size


def test_every_capability_of_the_running_kernel_has_a_name() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert len(NAMES) >= min(last + 1, 41)
