"""A run of the tests that is cut off names the tests that did not run."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SUITE = """
import time
from pathlib import Path

def test_first(): pass

def test_endless():
    Path("begun").touch()
    time.sleep(60)

def test_last(): pass
"""


def run(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    shutil.copy(CONFTEST, folder)
    (folder / "test_suite.py").write_text(SUITE)
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("arguments", [(), ("--numprocesses=1", "--dist=loadfile")], ids=["one process", "workers"])
def test_a_run_that_is_cut_off_names_what_did_not_run(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    process = run(tmp_path, *arguments)
    printed = ""
    while not re.search(
        r"^\.", printed, re.MULTILINE
    ):  # a worker begins a test before its main process knows how the last ended
        printed += process.stdout.read(1)
        assert process.poll() is None
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode != 0
    assert "FAILED test_suite.py::test_endless - did not run" in output
    assert "FAILED test_suite.py::test_last - did not run" in output
    assert "test_first - did not run" not in output


@pytest.mark.slow
def test_a_run_that_reaches_its_end_names_nothing(tmp_path: Path) -> None:
    process = run(tmp_path, "-k", "not endless")
    output, _ = process.communicate()
    assert process.returncode == 0
    assert "did not run" not in output
