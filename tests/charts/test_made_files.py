"""What is made from the chart is what the chart makes now."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from tests.charts.conftest import Chart

ROOT = Path(__file__).parents[2]


def test_table_and_schema_have_the_comments_of_values_yaml() -> None:
    spec = importlib.util.spec_from_file_location("values", ROOT / "dev/generate/chart_values.py")
    assert spec and spec.loader
    values = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(values)
    for file, text in values.made().items():
        assert file.read_text(encoding="utf-8") == text, "run dev/setup/manifests"
    table = (ROOT / "charts/forklore/README.md").read_text(encoding="utf-8")
    assert "| `leastPrivilege` | `false` |" in table


def test_every_value_has_a_description() -> None:
    spec = importlib.util.spec_from_file_location("values", ROOT / "dev/generate/chart_values.py")
    assert spec and spec.loader
    values = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(values)
    text = (ROOT / "charts/forklore/values.yaml").read_text()
    described = {value.path for value in values.commented(text)}

    def leaves(place: object, path: str) -> list[str]:
        if isinstance(place, dict) and place and path not in described:
            return [leaf for key, inner in place.items() for leaf in leaves(inner, f"{path}.{key}" if path else key)]
        return [path]

    assert set(leaves(yaml.safe_load(text), "")) == described


def test_the_manifests_are_the_default_render_of_the_chart(chart: Chart, tmp_path: Path) -> None:
    subprocess.run([ROOT / "dev/setup/manifests", tmp_path], check=True, timeout=60)
    made = sorted(file.name for file in tmp_path.iterdir())
    assert made == ["forklore.yaml", "uninstall.yaml"]
    for name in made:
        assert (tmp_path / name).read_text() == (ROOT / "manifests" / name).read_text(), "run dev/setup/manifests"
    kinds = [one["kind"] for one in yaml.safe_load_all((tmp_path / "forklore.yaml").read_text()) if one]
    assert kinds[0] == "Namespace" and kinds.count("DaemonSet") == 1 and "Job" not in kinds and "Pod" not in kinds


def test_kustomize_builds_on_the_manifests(binaries: Path, tmp_path: Path) -> None:
    """As the comment in kustomization.yaml says: with an agent.yaml of one's own."""
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    for name in ("kustomization.yaml", "forklore.yaml"):
        (manifests / name).write_text((ROOT / "manifests" / name).read_text())
    words = (manifests / "kustomization.yaml").read_text().splitlines()
    example = "\n".join(line.removeprefix("#   ") for line in words if line.startswith("#   "))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(example)
    (mine / "agent.yaml").write_text("cluster: mine\n")
    built = subprocess.run([binaries / "kubectl", "kustomize", mine], capture_output=True, text=True, check=True, timeout=60)
    objects = list(yaml.safe_load_all(built.stdout))
    (config,) = [one for one in objects if one["kind"] == "ConfigMap"]
    assert config["data"] == {"agent.yaml": "cluster: mine\n"}
    assert len(objects) == len([one for one in yaml.safe_load_all((manifests / "forklore.yaml").read_text()) if one])
