"""Inside a guest: runs the row's tests, and writes the result of each to the second serial port as a JSON line.

Lines: {"row": ...} first, {"test", "outcome", "seconds", "why"} for each test, {"starts_us", "end"} last; a guest that hangs
or crashes has no last line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

import agent.kernel.capture as capture_module
from agent.attribution.hierarchy import choose_hierarchy
from tests.guests.columns import chosen

HOST: Final = Path("/dev/ttyS1")
PATIENCE_S: Final = 150  # for what takes one second on a node: emulation is 20 times slower, and the host is busy
TEST_S: Final = 400  # after that a test hangs


def send(**fields: Any) -> None:
    with HOST.open("w") as host:
        host.write(json.dumps(fields) + "\n")


class ResultPlugin:
    """pytest's plugin. Only a test's own `skipif` may skip it: a test that skips because the BPF programs cannot be loaded has
    failed."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            outcome, why = str(report.outcome), ""
            crash = getattr(report.longrepr, "reprcrash", None)
            if crash:
                why = crash.message.splitlines()[0]
            elif isinstance(report.longrepr, tuple):
                why = report.longrepr[2].removeprefix("Skipped: ")
                outcome = "skipped" if "skipif" in report.keywords else "failed"
            send(test=report.nodeid, outcome=outcome, seconds=round(report.duration, 1), why=why)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            send(test=report.nodeid, outcome="failed", seconds=0, why=report.longreprtext.strip().splitlines()[-1])


def timed(starts: list[int]) -> None:
    """Makes every start of capture that compiles append its duration to `starts`, in us."""
    original = capture_module.open_capture

    def open_capture(*arguments: Any, **more: Any) -> capture_module.Capture:
        begun = time.monotonic_ns()
        capture = original(*arguments, **more)
        if not capture.taken_over:
            starts.append((time.monotonic_ns() - begun) // 1000)
        return capture

    capture_module.open_capture = open_capture


def main() -> int:
    arguments = dict(word.partition("=")[::2] for word in Path("/proc/cmdline").read_text().split())
    here = choose_hierarchy(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    send(
        row=arguments["row"],
        kernel=os.uname().release,
        controller=here.controller,
        cpus=os.cpu_count(),
        python=sys.version.split()[0],
    )
    starts: list[int] = []
    timed(starts)
    os.environ["TEST_PATIENCE"] = str(PATIENCE_S)
    tests = arguments["tests"].split(",") if "tests" in arguments else chosen(closely="closely" in arguments)
    options = ["-v", "-ra", "--tb=short", "--color=no", "--durations=0", "-p", "no:cacheprovider", f"--timeout={TEST_S}"]
    code = pytest.main([*options, *tests], plugins=[ResultPlugin()])
    send(starts_us=starts, end=int(code), seconds=round(time.clock_gettime(time.CLOCK_BOOTTIME)))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
