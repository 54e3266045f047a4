"""Each image's wheel holds what that image needs, and nothing else."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def build(folder: Path, image: str) -> subprocess.CompletedProcess[str]:
    pip = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT]
    return subprocess.run(pip, env=os.environ | {"FORKLORE_WHEEL": image}, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image", "packages"), [("agent", {"agent", "cli", "wire"}), ("collector", {"cli", "collector", "wire"})]
)
def test_a_wheel_holds_one_image_s_packages(tmp_path: Path, image: str, packages: set[str]) -> None:
    assert build(tmp_path, image).returncode == 0
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == packages
    sources = {f"agent/bpf/{file.relative_to(ROOT / 'bpf')}" for file in (ROOT / "bpf").rglob("*.[ch]")}
    assert "agent/bpf/fork.c" in sources
    assert sources & set(names) == (sources if image == "agent" else set())
    assert ("cli/top/app.py" in names) == (image == "collector")
    assert not [name for name in names if "__pycache__" in name]


@pytest.mark.slow
def test_an_image_that_does_not_exist_is_refused_by_name(tmp_path: Path) -> None:
    done = build(tmp_path, "agnet")
    assert done.returncode != 0
    assert "FORKLORE_WHEEL='agnet': the images are agent and collector" in done.stdout + done.stderr
