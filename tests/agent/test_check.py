"""`forklore agent --check`: reports whether the settings are valid, in words for people and by its exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def forklore(*arguments, **environment):
    known = {name: value for name, value in os.environ.items() if not name.startswith("FORKLORE_")}
    command = [sys.executable, "-m", "cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=known | environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def config(tmp_path):
    def write(text):
        file = tmp_path / "forklore.yaml"
        file.write_text(text)
        return file

    return write


def test_valid_settings_exit_with_0(config):
    done = forklore("agent", "--check", "--config", config("sinks: [{name: siem, url: 'http://127.0.0.1:9910/v1/events'}]"))
    assert (done.returncode, done.stdout) == (0, "")
    assert "settings: ok" in done.stderr


def test_invalid_settings_exit_with_78_and_a_line_for_each_mistake(config):
    done = forklore("agent", "--check", "--config", config("{capture: {ring_bytes: 5Mi}, nope: 1}"))
    assert done.returncode == 78
    assert len(done.stderr.splitlines()) == 2
    assert "capture.ring_bytes = '5Mi': give a power of two" in done.stderr
    assert "nope: there is no such setting" in done.stderr


def test_an_invalid_variable_exits_with_78():
    done = forklore("agent", "--check", FORKLORE_KUBERNETES__WAIT="soon")
    assert done.returncode == 78
    assert "kubernetes.wait" in done.stderr


def test_a_missing_file_exits_with_78(tmp_path):
    done = forklore("agent", "--check", "--config", tmp_path / "nowhere")
    assert done.returncode == 78
    assert "nowhere does not exist" in done.stderr


def test_wrong_arguments_exit_with_2():
    assert forklore("agent", "--chekc").returncode == 2


def test_help_exits_with_0_and_lists_the_options():
    done = forklore("agent", "--help")
    assert done.returncode == 0
    assert "--check" in done.stdout
