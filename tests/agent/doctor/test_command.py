"""`forklore doctor` as it is typed: exit codes, what goes where, and what it does not touch."""

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
# With root's capabilities it would load a probe for its canary; that is shown in tests/kernel.
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


def doctor(*arguments):
    known = {name: value for name, value in os.environ.items() if not name.startswith(("FORKLORE_", "KUBERNETES_"))}
    command = [*POWERLESS, sys.executable, "-m", "cli", "doctor", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, timeout=60, check=False)


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
def test_wrong_arguments_are_2(arguments):
    assert doctor(*arguments).returncode == 2


def test_help_says_where_to_run_it():
    done = doctor("--help")
    assert done.returncode == 0
    assert "kubectl exec" in done.stdout


def test_wrong_settings_fail_and_the_node_is_looked_at_all_the_same(config):
    done = doctor("--json", "--config", config(nope=1))
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1
    assert findings["settings"]["verdict"] == "fail"
    assert "nope" in findings["settings"]["text"]
    assert findings["kernel"]["verdict"] == "ok"
    assert findings["sinks"]["verdict"] == findings["state directory"]["verdict"] == "skipped"


def test_a_sink_that_is_not_there_is_1_and_named(config):
    done = doctor("--config", config(sinks=[{"name": "siem", "url": "http://127.0.0.1:1/"}]))
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("fail     sink")]
    assert line.split()[1:3] == ["sink", "siem"]
    assert "Connection refused" in line


def test_where_nothing_goes_to_paper_only_it_is_plain(config):
    done = doctor("--config", config())
    assert "\x1b" not in done.stdout
    assert not done.stderr


def test_cleaning_where_nothing_is_pinned_is_0_and_asks_nothing(config):
    done = doctor("--clean", "--config", config())
    assert (done.returncode, done.stdout) == (0, "forklore doctor: capture.pin is null: nothing is ever pinned\n")


def test_cleaning_with_wrong_settings_is_1_and_touches_nothing(config):
    done = doctor("--clean", "--yes", "--config", config(nope=1))
    assert done.returncode == 1
    assert "nope" in done.stdout


def test_cleaning_does_without_what_takes_memory(tmp_path):
    """The pod that cleans a node up after an uninstall has little."""
    program = "import sys; from agent.doctor.__main__ import main; main(['--clean']); print(*sys.modules)"
    environment = {**os.environ, "FORKLORE_CAPTURE__PIN": str(tmp_path / "pins")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert not {"kubernetes", "aiohttp", "bcc"} & set(done.stdout.split())
