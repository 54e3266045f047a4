"""Settings of all tests. A run that is cut off names each test that did not run, and fails by that name."""

from __future__ import annotations

import gc
from typing import Any

import hypothesis
import pytest

from tests.authorities import trust_none

trust_none()
gc.disable()  # until all tests are collected, see below

# A time is never asserted: on a busy machine an example takes longer than Hypothesis' 200 ms.
hypothesis.settings.register_profile("forklore", deadline=None)
hypothesis.settings.load_profile("forklore")


class _Runs:
    """Which of the collected tests came to their end."""

    def __init__(self) -> None:
        self._collected: dict[str, None] = {}  # node ids, in the order of collection
        self._ended: set[str] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._collected |= dict.fromkeys(item.nodeid for item in session.items)
        _collect_garbage_of_tests()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """With pytest-xdist only the workers collect."""
        self._collected |= dict.fromkeys(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown" or not report.passed:
            self._ended.add(report.nodeid)

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """Silent for a run that reached its end, or was asked to stop at a failure (`-x`, `--maxfail`)."""
        missing = [test for test in self._collected if test not in self._ended]
        if missing and not config.getoption("maxfail") and not config.getoption("collectonly"):
            terminalreporter.section(f"the run was cut off: {len(missing)} tests did not run")
            for test in missing:
                terminalreporter.line(f"FAILED {test} - did not run")


def _collect_garbage_of_tests() -> None:
    """From here on. The 300,000 objects of 5,000 collected tests stay until the end: each collection would visit them all, and
    with the interpreter's own thresholds a tenth of the tests' CPU goes there."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Runs(), "runs")
