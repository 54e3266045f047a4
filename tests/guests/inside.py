"""Inside a guest: runs the row's tests, and tells the host of each on the second serial port, one JSON line each.

Lines: {"row": ...} first, {"test", "outcome", "seconds", "why"} for each test, {"starts_us", "end"} last; a guest that hangs
or crashes has no last line. Must not live here: the choice of tests (columns), the table (table).
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

import agent.kernel.capture as door
from agent.attribution.cgroups import choose_hierarchy
from tests.guests.columns import chosen

HOST: Final = Path("/dev/ttyS1")
PATIENCE_S: Final = 150  # for what takes one second on a node: emulation is 20 times slower, and the host is busy
TEST_S: Final = 400  # after that a test hangs


def tell(**said: Any) -> None:
    with HOST.open("w") as host:
        host.write(json.dumps(said) + "\n")


class Teller:
    """pytest's plugin. Only a test's own `skipif` may skip it: one that skips because the probe can't be had has failed."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            outcome, why = str(report.outcome), ""
            crash = getattr(report.longrepr, "reprcrash", None)
            if crash:
                why = crash.message.splitlines()[0]
            elif isinstance(report.longrepr, tuple):
                why = report.longrepr[2].removeprefix("Skipped: ")
                outcome = "skipped" if "skipif" in report.keywords else "failed"
            tell(test=report.nodeid, outcome=outcome, seconds=round(report.duration, 1), why=why)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            tell(test=report.nodeid, outcome="failed", seconds=0, why=report.longreprtext.strip().splitlines()[-1])


def timed(starts: list[int]) -> None:
    """Has every start of capture that compiles a probe write down how long it took, in us."""
    real = door.open_capture

    def open_capture(*arguments: Any, **more: Any) -> door.Capture:
        begun = time.monotonic_ns()
        capture = real(*arguments, **more)
        if not capture.taken_over:
            starts.append((time.monotonic_ns() - begun) // 1000)
        return capture

    door.open_capture = open_capture


def main() -> int:
    words = dict(word.partition("=")[::2] for word in Path("/proc/cmdline").read_text().split())
    here = choose_hierarchy(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    tell(
        row=words["row"],
        kernel=os.uname().release,
        controller=here.controller,
        cpus=os.cpu_count(),
        python=sys.version.split()[0],
    )
    starts: list[int] = []
    timed(starts)
    os.environ["TEST_PATIENCE"] = str(PATIENCE_S)
    tests = words["tests"].split(",") if "tests" in words else chosen(closely="closely" in words)
    options = ["-v", "-ra", "--tb=short", "--color=no", "--durations=0", "-p", "no:cacheprovider", f"--timeout={TEST_S}"]
    code = pytest.main([*options, *tests], plugins=[Teller()])
    tell(starts_us=starts, end=int(code), seconds=round(time.clock_gettime(time.CLOCK_BOOTTIME)))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
