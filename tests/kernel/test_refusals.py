"""A machine on which capture is impossible or forbidden: one line with the remedy, and an exit code of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.kernel


def agent(folder: Path, *before: str, **settings: object) -> subprocess.CompletedProcess[str]:
    config = folder / "agent.yaml"
    defaults = {"status": "127.0.0.1:0", "kubernetes": {"enabled": False}, "capture": {"pin": None}}
    config.write_text(yaml.safe_dump({**defaults, "state_dir": str(folder / "state"), **settings}))
    command = [*before, sys.executable, "-m", "cli", "agent", "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def hidden(*folders: str) -> tuple[str, ...]:
    """A command prefix: a mount namespace in which these folders are empty."""
    mounts = "".join(f"mount -t tmpfs none {folder} && " for folder in folders if Path(folder).is_dir())
    return ("unshare", "--mount", "sh", "-c", f'{mounts}exec "$@"', "sh")


def only_line(answer: subprocess.CompletedProcess[str]) -> str:
    (line,) = answer.stderr.splitlines()
    return line


def test_without_privileges_it_reports_which_are_missing(tmp_path: Path) -> None:
    answer = agent(tmp_path, "setpriv", "--bounding-set=-all", "--inh-caps=-all")
    assert answer.returncode == 77
    assert "CAP_BPF" in only_line(answer)


def test_without_btf_it_reports_what_the_kernel_lacks(tmp_path: Path) -> None:
    answer = agent(tmp_path, *hidden("/sys/kernel/btf", "/boot", "/lib/modules", "/usr/lib/debug"))
    assert answer.returncode == 69
    assert "BTF" in only_line(answer) and "5.10" in only_line(answer)


def test_without_bcc_it_names_the_package(tmp_path: Path) -> None:
    answer = agent(tmp_path, *hidden("/usr/lib/python3/dist-packages/bcc"))
    assert answer.returncode == 69
    assert "python3-bpfcc" in only_line(answer)


def test_without_a_cgroup_hierarchy_it_reports_what_to_mount(tmp_path: Path) -> None:
    unmount = "while umount -l /sys/fs/cgroup/* /sys/fs/cgroup 2>/dev/null; do :; done; umount -a -l -t cgroup,cgroup2; "
    answer = agent(tmp_path, "unshare", "--mount", "sh", "-c", f'{unmount}exec "$@"', "sh")
    assert answer.returncode == 69
    assert "/sys/fs/cgroup" in only_line(answer)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = agent(tmp_path, status=f"127.0.0.1:{port}")
    assert answer.returncode == 69
    assert str(port) in only_line(answer)


def test_it_needs_no_kernel_headers(tmp_path: Path) -> None:
    without_headers = hidden("/usr/include", "/usr/src", "/lib/modules")
    config = tmp_path / "agent.yaml"
    settings = {"status": "127.0.0.1:0", "kubernetes": {"enabled": False}, "state_dir": str(tmp_path), "capture": {"pin": None}}
    config.write_text(yaml.safe_dump(settings))
    command = [*without_headers, sys.executable, "-m", "cli", "agent", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as agent:
        assert agent.stderr
        lines = [next(agent.stderr)]
        while "capturing" not in lines[-1]:
            lines += [next(agent.stderr)]
        agent.terminate()
        lines += agent.stderr
    assert agent.returncode == 0, lines
