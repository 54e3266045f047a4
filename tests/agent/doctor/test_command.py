"""`forklore doctor` as a command: exit codes, output, and what it must not change."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
# With root's capabilities it would load BPF programs for its canary; tests/kernel does that.
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


def doctor(*arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FORKLORE_", "KUBERNETES_"))}
    command = [*POWERLESS, sys.executable, "-m", "cli", "doctor", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def config(tmp_path):
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{port.getsockname()[1]}"
    settings = {
        "status": where,
        "state_dir": str(tmp_path / "state"),
        "kubernetes": {"enabled": False},
        "capture": {"pin": None},
    }
    file = tmp_path / "agent.yaml"

    def write(**changes):
        file.write_text(yaml.safe_dump({**settings, **changes}))
        return file

    return write


@pytest.mark.parametrize("arguments", [["--yes"], ["--jsn"], ["--json", "--clean"], ["extra"]])
def test_wrong_arguments_exit_with_2(arguments):
    assert doctor(*arguments).returncode == 2


def test_the_help_names_where_to_run_it():
    done = doctor("--help")
    assert done.returncode == 0
    assert "kubectl exec" in done.stdout


def test_with_wrong_settings_the_node_is_still_checked(config):
    done = doctor("--json", "--config", config(nope=1))
    results = {result["name"]: result for result in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1
    assert results["settings"]["verdict"] == "fail"
    assert "nope" in results["settings"]["text"]
    assert results["kernel"]["verdict"] == "ok"
    assert results["sinks"]["verdict"] == results["state directory"]["verdict"] == "skipped"


def test_a_sink_that_does_not_answer_exits_with_1_and_is_named(config):
    done = doctor("--config", config(sinks=[{"name": "siem", "url": "http://127.0.0.1:1/"}]))
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("fail     sink")]
    assert line.split()[1:3] == ["sink", "siem"]
    assert "Connection refused" in line


def test_output_that_is_no_terminal_has_no_colours(config):
    done = doctor("--config", config())
    assert "\x1b" not in done.stdout
    assert not done.stderr


def test_cleaning_where_nothing_is_pinned_exits_with_0_without_asking(config):
    done = doctor("--clean", "--config", config())
    assert (done.returncode, done.stdout) == (0, "forklore doctor: capture.pin is null: nothing is ever pinned\n")


def test_cleaning_with_wrong_settings_exits_with_1_and_removes_nothing(config):
    done = doctor("--clean", "--yes", "--config", config(nope=1))
    assert done.returncode == 1
    assert "nope" in done.stdout


def test_cleaning_imports_nothing_that_takes_much_memory(tmp_path):
    """The pod that cleans a node up after an uninstall has little memory."""
    program = "import sys; from agent.doctor.__main__ import main; main(['--clean']); print(*sys.modules)"
    environment = {**os.environ, "FORKLORE_CAPTURE__PIN": str(tmp_path / "pins")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert not {"kubernetes", "aiohttp", "bcc"} & set(done.stdout.split())
