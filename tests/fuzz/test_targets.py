"""The short form of `make fuzz`: each target from its seeds on, with the same numbers each time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.recorded import ROOT

pytestmark = pytest.mark.slow
pytest.importorskip("atheris", reason="no wheel of atheris for this machine")
HERE = Path(__file__).parent
# Executions, so many that a target takes a second or two.
RUNS = {"terminal": 300, "settings_files": 100, "fork_records": 800, "http_requests": 500, "pod_objects": 1500}
TARGETS = sorted(file.stem for file in HERE.glob("*.py") if "\ndef check(data)" in file.read_text())


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_breaks(target, tmp_path):
    options = [f"-runs={RUNS.get(target, 2500)}", "-seed=1", "-max_len=16384", "-timeout=60", f"-artifact_prefix={tmp_path}/"]
    command = [sys.executable, "-m", "tests.fuzz", target, *options]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done " in done.stderr


def test_there_is_a_target_for_every_parser_of_foreign_bytes():
    assert set(TARGETS) == {
        "batch_bodies", "batch_lines", "cgroup_paths", "fork_records", "http_requests", "journal_records", "pod_objects",
        "query_parameters", "receiver_answers", "settings_files", "terminal", "tokens",
    }  # fmt: skip
