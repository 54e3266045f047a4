"""An upgrade from version 0.1, whose programs have another layout: under forks, with an agent that is killed between."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from agent.kernel.pins import instance_ids

from .agent_process import Agent, until
from .conftest import Receiver, hierarchy, remove_cgroups
from .scenes import kill

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
# Moves to the cgroup, then forks at a rate until the file exists, and prints how often.
FORKING: Final = """
import os, sys, time
cgroup, stop, so_far = sys.argv[1:]
with open(f"{cgroup}/cgroup.procs", "w") as file:
    file.write("0")
done, start = 0, time.monotonic()
while not os.path.exists(stop):
    while done < (time.monotonic() - start) * 200:
        try:
            os.posix_spawn("/nothing", ["x"], {})
        except FileNotFoundError:
            done += 1
    with open(f"{so_far}.new", "w") as file:
        file.write(str(done))
    os.rename(f"{so_far}.new", so_far)
    time.sleep(0.02)
print(done)
"""


class Forker(NamedTuple):
    """A process that forks in the cgroup."""

    process: subprocess.Popen[str]
    folder: Path

    def done(self) -> int:
        """How often until now, or a moment ago."""
        file = self.folder / "done"
        return int(file.read_text()) if file.exists() else 0

    def stop(self) -> int:
        """Returns how often it has forked."""
        (self.folder / "stop").touch()
        out, _ = self.process.communicate()
        return int(out)


@pytest.fixture
def cgroup() -> Iterator[Path]:
    folder = hierarchy().root / "forklore-test-layout-1"
    folder.mkdir()
    yield folder
    remove_cgroups(folder)


@pytest.fixture
def version_0_1(pins: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Its capture, pinned and running: the stream, and the process."""
    command = [sys.executable, "-m", "tests.kernel.layout_1.pin", pins]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        stream = process.stdout.readline().strip()
        assert stream, "it captures"
        yield stream, process
        process.kill()


@pytest.fixture
def forker(cgroup: Path, tmp_path: Path) -> Iterator[Forker]:
    command = [sys.executable, "-c", FORKING, cgroup, tmp_path / "stop", tmp_path / "done"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield Forker(process, tmp_path)
        process.kill()


def test_each_fork_is_delivered_once_over_an_upgrade_from_layout_1_and_a_kill_of_the_first_agent(
    version_0_1: tuple[str, subprocess.Popen[str]],
    pins: Path,
    cgroup: Path,
    forker: Forker,
    receiver: Receiver,
    start_agent: Callable[..., Agent],
    offline: dict[str, Any],
) -> None:
    settings = {
        **offline,
        "capture": {"pin": str(pins), "keep": False, "summary_interval": "1s", "storm_limit": 0},
        "sinks": [{"name": "test", "url": receiver.url, "batch": {"wait": "100ms"}}],
    }

    def delivered() -> dict[str, dict[str, Any]]:
        forks = (event for event in list(receiver.events) if event["event"] == "sched_process_fork")
        return {event["id"]: event for event in forks if event["parent_pid"] == forker.process.pid}

    stream, process = version_0_1
    until(lambda: forker.done() > 100, "version 0.1 has captured forks")
    process.kill()
    first = start_agent(wait=False, **settings)
    until(lambda: len(instance_ids(pins)) == 2, "the new programs are pinned")
    kill(first)
    second = start_agent(**settings)
    after = forker.done()
    until(lambda: forker.done() > after + 100, "the new programs have captured forks")
    made = forker.stop()
    until(lambda: len(delivered()) >= made, "all are delivered")
    until(lambda: not second.get("/v1/ledger")["former"], "what version 0.1 has captured is closed")
    ledger = second.stop()
    forks = delivered()
    assert len(forks) == made
    tasks = Counter((event["child_pid"], event["start_time"]) for event in forks.values())
    assert max(tasks.values()) == 1, "no fork has two ids"
    assert {event["cgroup"]["path"] for event in forks.values()} == {f"/{cgroup.name}"}
    streams = Counter(number.rpartition(".")[0].rpartition(".")[0] for number in forks)
    assert streams[stream] > 100
    assert streams[second_stream := ledger["stream"]] > 100 and second_stream != stream
    assert ledger["closed"]
