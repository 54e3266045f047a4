"""Fourteen kinds of workload in real containers, beside the images as the chart runs them: `make cluster`'s short form."""

from __future__ import annotations

import pytest

from dev.cluster.report import verdict
from dev.cluster.run import compared

from .conftest import Release

pytestmark = [pytest.mark.images, pytest.mark.kernel, pytest.mark.containers, pytest.mark.timeout(300)]


def test_each_kind_of_workload_has_its_own_name_and_as_many_forks_as_it_counted(installation: Release) -> None:
    render = installation.render("least-privilege", agent={"settings": {"capture": {"summary_interval": "1s"}}})
    installation.start_collector(render)
    rows, _ = compared(installation, render)
    assert verdict(rows) == []
    # One container could have another name as long as its status is not there: what waits too long for it has none.
    assert {row.kind for row in rows if row.unresolved} <= {"postStart that blocks"}
