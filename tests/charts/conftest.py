"""The chart as helm renders it. helm comes from PyPI (dev/setup/helm); without it these tests are skipped by name."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/forklore"
NEW = "1.35.0"  # the Kubernetes that goldens are rendered for
NAMESPACE = "forklore"


class Pod(NamedTuple):
    """A pod template, or a pod, of the object `kind`/`name`."""

    kind: str
    name: str
    metadata: dict[str, Any]
    spec: dict[str, Any]

    def containers(self) -> list[dict[str, Any]]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


class Render:
    """One render. What it gives is shared: whoever wants to change it copies it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._objects: list[dict[str, Any]] | None = None

    def objects(self) -> list[dict[str, Any]]:
        if self._objects is None:
            self._objects = [found for found in yaml.load_all(self.text, yaml.CSafeLoader) if found]
        return self._objects

    def get(self, kind: str, name: str) -> dict[str, Any]:
        (found,) = [one for one in self.objects() if one["kind"] == kind and one["metadata"]["name"] == name]
        return found

    def pods(self) -> list[Pod]:
        return list(_pods(self.objects()))

    def agent(self) -> Pod:
        (found,) = [pod for pod in self.pods() if pod.kind == "DaemonSet" and pod.name.endswith("-agent")]
        return found

    def container(self) -> dict[str, Any]:
        """The agent's."""
        return next(one for one in self.agent().spec["containers"] if one["name"] == "agent")

    def settings(self, part: str = "agent") -> dict[str, Any]:
        """The YAML file that is mounted into the part's pod."""
        (found,) = [one for one in self.objects() if one["kind"] == "ConfigMap" and f"{part}.yaml" in one.get("data", {})]
        settings: dict[str, Any] = yaml.safe_load(found["data"][f"{part}.yaml"])
        return settings


def _pods(objects: list[dict[str, Any]]) -> Iterator[Pod]:
    for one in objects:
        kind, name = one["kind"], one["metadata"]["name"]
        if kind == "Pod":
            yield Pod(kind, name, one["metadata"], one["spec"])
        elif "template" in one.get("spec", {}):
            yield Pod(kind, name, one["spec"]["template"]["metadata"], one["spec"]["template"]["spec"])
        elif kind == "CronJob":
            template = one["spec"]["jobTemplate"]["spec"]["template"]
            yield Pod(kind, name, template["metadata"], template["spec"])


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
        done = subprocess.run(line, input=yaml.safe_dump(values or {}), capture_output=True, text=True, timeout=60, check=False)
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
    done = subprocess.run([ROOT / "dev/setup/helm"], capture_output=True, text=True, timeout=300, check=False)
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
