"""`forklore doctor` on the real kernel: on this machine all is well, and with each thing broken in turn it names the thing, its
cure, and nothing else.

Must not live here: what a finding says of facts that are given (tests/agent/doctor).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from agent.kernel.libbpf import load_libbpf
from agent.kernel.maps import BpfMap
from agent.kernel.records import CONFIG
from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster

from .conftest import Agent, Receiver, until
from .test_refusals import hidden

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(90)]

POWERLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
UNMOUNT_CGROUPS = "while umount -l /sys/fs/cgroup/* /sys/fs/cgroup 2>/dev/null; do :; done; umount -a -l -t cgroup,cgroup2; "
BEFORE_CAPTURE = {"kernel", "BTF", "ring buffer", "capabilities", "user namespace", "lockdown", "seccomp", "BCC", "cgroups"}
# Refuses bpf() to what it executes, as an old Docker's profile does.
FORBIDS_BPF = """
import ctypes, os, platform, struct, sys
number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
program = b"".join(struct.pack("=HBBI", *one) for one in code)
buffer = ctypes.create_string_buffer(program)
head = struct.pack("@HP", len(code), ctypes.addressof(buffer))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, head, 0, 0) == 0
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Diagnosis:
    """What the command said."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        assert done.returncode in (0, 1), done.stderr
        self.code = done.returncode
        self.findings = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}

    def __getitem__(self, name: str) -> dict[str, Any]:
        return dict(self.findings[name])

    def of(self, verdict: str) -> list[str]:
        return [name for name, finding in self.findings.items() if finding["verdict"] == verdict]


def run(config: Path, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-m", "cli", "doctor", "--config", str(config), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)


def diagnosis(config: Path, *before: str) -> Diagnosis:
    return Diagnosis(run(config, "--json", before=before))


def shell(commands: str) -> tuple[str, ...]:
    """Runs the rest in a mount namespace where these were run."""
    return ("unshare", "--mount", "sh", "-c", f'{commands}exec "$@"', "sh")


def free_port() -> int:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        return int(port.getsockname()[1])


@pytest.fixture
def config(tmp_path: Path, pins: Path, receiver: Receiver) -> Callable[..., Path]:
    """Writes settings of an agent that has all it needs."""
    settings = {
        "node": "node1",
        "status": f"127.0.0.1:{free_port()}",
        "state_dir": str(tmp_path / "state"),
        "kubernetes": {"enabled": False},
        "capture": {"pin": str(pins), "ring_bytes": "1Mi"},
        "sinks": [{"name": "siem", "url": receiver.url}],
    }

    def write(**changes: Any) -> Path:
        file = tmp_path / "doctor.yaml"
        file.write_text(yaml.safe_dump({**settings, **changes}))
        return file

    return write


@contextmanager
def running(config: Path, folder: Path) -> Iterator[Agent]:
    """The agent of these settings, on a status port of its own."""
    agent = Agent(folder, {key: value for key, value in yaml.safe_load(config.read_text()).items() if key != "status"})
    try:
        until(agent.ready, "the agent is ready")
        yield agent
    finally:
        agent.process.kill()
        agent.process.wait()


def test_on_this_machine_all_is_well_and_23_forks_are_found(config: Callable[..., Path], receiver: Receiver) -> None:
    with subprocess.Popen(["sh", "-c", "while :; do true | true; done"]) as others:
        said = diagnosis(config())
        others.kill()
    assert (said.of("fail"), said.of("warn"), said.code) == ([], [], 0)
    assert set(said.of("skipped")) <= {"lockdown", "Kubernetes API"}
    assert said["canary"]["text"] == "forked 23 times, and found 23 in a capture of its own"
    assert "no agent runs here" in said["status port"]["text"]
    assert receiver.events == [], "no sink is sent an event"


def test_beside_a_running_agent_it_uses_that_one_s_counts(config: Callable[..., Path], tmp_path: Path) -> None:
    with running(config(), tmp_path) as agent:
        settings = yaml.safe_load(config().read_text())
        said = diagnosis(config(**settings | {"status": agent.status}))
        assert (said.of("fail"), said.of("warn"), said.code) == ([], [], 0)
        assert f"in use by an agent, process {agent.process.pid}: program instance of this version" in said["pins"]["text"]
        assert f"in use by process {agent.process.pid}" in said["journal"]["text"]
        assert "is ready" in said["status port"]["text"]
        assert "the agent counted" in said["canary"]["text"]
        assert agent.process.poll() is None
        assert agent.get("/v1/ledger")["closed"], "it was not disturbed"


@pytest.mark.parametrize(
    ("before", "name", "cure"),
    [
        (hidden("/sys/kernel/btf", "/boot", "/lib/modules", "/usr/lib/debug"), "BTF", "CONFIG_DEBUG_INFO_BTF"),
        (hidden("/usr/lib/python3/dist-packages/bcc"), "BCC", "python3-bpfcc"),
        (POWERLESS, "capabilities", "BPF, PERFMON"),
        (("setpriv", "--bounding-set=-all,+bpf", "--inh-caps=-all"), "capabilities", "PERFMON"),
        (("unshare", "--user", "--map-root-user"), "user namespace", "hostUsers"),
        ((sys.executable, "-c", FORBIDS_BPF), "seccomp", "RuntimeDefault"),
        (shell(UNMOUNT_CGROUPS), "cgroups", "/sys/fs/cgroup"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_what_keeps_it_from_capturing_is_named_and_alone(
    config: Callable[..., Path], before: tuple[str, ...], name: str, cure: str
) -> None:
    said = diagnosis(config(), *before)
    assert (said.of("fail"), said.code) == ([name], 1)
    assert cure in said[name]["cure"]
    assert said["canary"]["verdict"] == "skipped"
    assert name in said["canary"]["text"]


def test_another_user_is_told_to_be_root(tmp_path: Path) -> None:
    places = {"FORKLORE_STATE_DIR": "/root/forklore", "FORKLORE_STATUS": f"127.0.0.1:{free_port()}"}
    anybody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    command = [*anybody, sys.executable, "-B", "-m", "cli", "doctor", "--json"]
    environment = {**os.environ, **places, "FORKLORE_KUBERNETES__ENABLED": "false"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    said = Diagnosis(done)
    assert {"capabilities", "state directory"} <= set(said.of("fail")) <= {"capabilities", "pins", "state directory"}
    assert "root" in said["state directory"]["cure"]


def test_a_state_directory_that_is_read_only_is_named(config: Callable[..., Path], tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    said = diagnosis(config(), *shell(f"mount -t tmpfs -o ro none {state} && "))
    assert (said.of("fail"), said.code) == (["state directory"], 1)
    assert "Read-only file system" in said["state directory"]["text"]
    assert "state_dir" in said["state directory"]["cure"]
    assert said["canary"]["verdict"] == "ok", "and what has nothing to do with it is looked at all the same"


def test_a_disk_that_is_nearly_full_is_a_warning(config: Callable[..., Path], tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    said = diagnosis(config(), *shell(f"mount -t tmpfs -o size=8m none {state} && "))
    assert (said.of("warn"), said.code) == (["state directory"], 0)
    assert "sinks[].journal_bytes" in said["state directory"]["cure"]


def test_without_a_bpf_file_system_it_says_what_a_restart_will_miss(config: Callable[..., Path]) -> None:
    said = diagnosis(config(), *shell("mount -t tmpfs none /sys/fs/bpf && "))
    assert (said.of("fail"), said.of("warn"), said.code) == ([], ["BPF file system"], 0)
    assert "mount -t bpf bpf /sys/fs/bpf" in said["BPF file system"]["cure"]
    assert said["pins"]["verdict"] == "skipped"


def test_a_bpf_file_system_that_cannot_be_written_is_a_warning(config: Callable[..., Path]) -> None:
    said = diagnosis(config(), *shell("mount -o remount,bind,ro /sys/fs/bpf && "))
    assert said.of("warn") == ["BPF file system"]
    assert "Read-only file system" in said["BPF file system"]["text"]


async def test_an_api_that_says_403_and_a_sink_that_says_401_are_named(config: Callable[..., Path], tmp_path: Path) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=401 if request.method == "POST" else 403, text="no")

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    KubernetesApi(Cluster(), port=port).write_kubeconfig(tmp_path / "kubeconfig")
    (tmp_path / "token").write_text("old")
    sink = {"name": "siem", "url": f"http://127.0.0.1:{port}/", "token_file": str(tmp_path / "token")}
    settings = config(kubernetes={"kubeconfig": str(tmp_path / "kubeconfig")}, sinks=[sink])
    said = await asyncio.to_thread(diagnosis, settings)
    await runner.cleanup()
    assert (said.of("fail"), said.code) == (["Kubernetes API", "sink siem"], 1)
    assert "may not list or watch or get pods" in said["Kubernetes API"]["text"]
    assert "ClusterRole" in said["Kubernetes API"]["cure"]
    assert "401" in said["sink siem"]["text"]
    assert str(tmp_path / "token") in said["sink siem"]["cure"]


@pytest.fixture
def left(config: Callable[..., Path], tmp_path: Path) -> Path:
    """The settings of an agent that was killed, and left its pins."""
    settings = config()
    with running(settings, tmp_path):
        pass
    for _ in range(100):
        subprocess.run(["true"], check=True)
    return settings


def test_what_an_agent_left_is_found_and_removed(left: Path, pins: Path) -> None:
    said = diagnosis(left)
    assert (said.of("warn"), said.code) == (["pins"], 0)
    assert f"no agent uses what is pinned in {pins}: program instance of this version" in said["pins"]["text"]
    assert "--clean" in said["pins"]["cure"]
    asked = run(left, "--clean")
    assert (asked.returncode, [*pins.iterdir()] != []) == (2, True), "nobody said yes"
    removed = run(left, "--clean", "--yes")
    assert removed.returncode == 0
    pending_by_cgroup = int(removed.stdout.split(" forks in its ring")[0].split()[-1].replace(",", ""))
    assert pending_by_cgroup >= 100, "it says what goes with it"
    assert not pins.exists()
    assert diagnosis(left).of("warn") == []
    assert run(left, "--clean").stdout.endswith(f"nothing is pinned in {pins}\n")


def test_without_any_capability_it_can_be_removed_all_the_same(left: Path, pins: Path) -> None:
    """As the pod does that runs on every node after an uninstall."""
    assert run(left, "--clean", "--yes", before=POWERLESS).returncode == 0
    assert not pins.exists()


def test_an_orphan_says_how_many_it_only_counted(left: Path, pins: Path) -> None:
    (probe,) = [folder for folder in pins.iterdir() if folder.name != "dispatch"]
    descriptor = load_libbpf().bpf_obj_get(os.fsencode(probe / "map-config"))
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    BpfMap(descriptor, 4, CONFIG.size, 1).put(bytes(4), CONFIG.pack(1, 0, 0, now))
    os.close(descriptor)
    for _ in range(50):
        subprocess.run(["true"], check=True)
    words = diagnosis(left)["pins"]["text"]
    assert "only counts" in words
    assert int(words.split(" counted without an agent")[0].split()[-1].replace(",", "")) >= 50


def test_a_probe_of_other_settings_is_told_from_one_s_own(left: Path, config: Callable[..., Path], pins: Path) -> None:
    said = diagnosis(config(capture={"pin": str(pins), "ring_bytes": "2Mi"}))
    assert "of another version or other settings" in said["pins"]["text"]


def test_what_a_living_agent_has_is_not_removed(config: Callable[..., Path], tmp_path: Path, pins: Path) -> None:
    settings = config()
    with running(settings, tmp_path) as agent:
        refused = run(settings, "--clean", "--yes")
        assert refused.returncode == 1
        assert f"process {agent.process.pid}" in refused.stdout and "stop it first" in refused.stdout
        assert (pins / "dispatch").is_dir()
        before = agent.get("/v1/ledger")["processes"]
        subprocess.run(["true"], check=True)
        assert agent.get("/v1/ledger")["processes"] > before, "it captures as before"
