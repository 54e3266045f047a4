"""The chart as helm renders it. helm comes from PyPI (dev/setup/helm); without it these tests are skipped by name."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.cluster.render import PodTemplate as Pod
from dev.cluster.render import Render
from tests.authorities import environment_of_machine

__all__ = ["Chart", "Pod", "Render"]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/forklore"
NEW = "1.35.0"  # the Kubernetes that goldens are rendered for
NAMESPACE = "forklore"
# Of helm, which ends before its garbage matters: to collect it takes a quarter of its CPU.
SHORT_LIVED = os.environ | {"GOGC": "off"}


class Chart:
    def __init__(self, helm: Path, folder: Path = CHART) -> None:
        self.helm = helm
        self.folder = folder
        self._rendered: dict[str, Render] = {}  # helm takes 0.1 s, and most tests ask for every case

    def cases(self) -> list[str]:
        return cases()

    def run(self, *arguments: str, values: dict[str, Any] | None = None, case: str | None = None) -> tuple[int, str, str]:
        """One helm command on the chart: code, stdout, stderr."""
        line = [str(self.helm), arguments[0], *arguments[1:]]
        if case:
            line += ["--values", str(CHART / "ci" / f"{case}-values.yaml")]
        if values is not None:
            line += ["--values", "-"]
        done = subprocess.run(
            line, env=SHORT_LIVED, input=yaml.safe_dump(values or {}), capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def render(
        self, case: str | None = None, values: dict[str, Any] | None = None, kubernetes: str = NEW, *, fresh: bool = False
    ) -> Render:
        key = json.dumps([case, values, kubernetes])
        if not fresh and key in self._rendered:
            return self._rendered[key]
        code, text, error = self._template(case, values, kubernetes)
        assert code == 0, error
        made = Render(text)
        if not fresh:  # its caller means to change it
            self._rendered[key] = made
        return made

    def refusal(self, values: dict[str, Any], kubernetes: str = NEW) -> str:
        """What helm says instead of rendering."""
        code, _, error = self._template(None, values, kubernetes)
        assert code != 0, "it was rendered"
        return error

    def _template(self, case: str | None, values: dict[str, Any] | None, kubernetes: str) -> tuple[int, str, str]:
        return self.run(
            "template", "forklore", str(self.folder), "--namespace", NAMESPACE, "--kube-version", kubernetes,
            *(["--api-versions", "cert-manager.io/v1"] if case == "cert-manager" else []),
            case=case, values=values,
        )  # fmt: skip


def cases() -> list[str]:
    """A values file each, in charts/forklore/ci."""
    return sorted(file.name.removesuffix("-values.yaml") for file in (CHART / "ci").glob("*-values.yaml"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", cases())


@functools.cache
def _binaries() -> tuple[int, str]:
    done = subprocess.run(
        [ROOT / "dev/setup/helm"], env=environment_of_machine(), capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stderr.strip()


@pytest.fixture(scope="session")
def binaries() -> Path:
    """The folder with helm and kubectl."""
    code, text = _binaries()
    if code == 69:
        pytest.skip(text)
    assert code == 0, text
    return ROOT / ".cache/bin"


@pytest.fixture(scope="session")
def chart(binaries: Path) -> Chart:
    return Chart(binaries / "helm")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder render."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.charts)
