"""`forklore doctor` on the real kernel: on this machine all checks pass; with one thing broken it reports only that thing and
its remedy."""

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

from .agent_process import Agent, until
from .conftest import Receiver
from .forks import forking_beside
from .test_refusals import hidden

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(90)]

POWERLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
UNMOUNT_CGROUPS = "while umount -l /sys/fs/cgroup/* /sys/fs/cgroup 2>/dev/null; do :; done; umount -a -l -t cgroup,cgroup2; "
BEFORE_CAPTURE = {"kernel", "BTF", "ring buffer", "capabilities", "user namespace", "lockdown", "seccomp", "BCC", "cgroups"}
# Refuses bpf() to the program that it executes, as the profile of an old Docker does.
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
    """The findings of the command."""

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
    """A command prefix: a mount namespace in which these commands were run."""
    return ("unshare", "--mount", "sh", "-c", f'{commands}exec "$@"', "sh")


def free_port() -> int:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        return int(port.getsockname()[1])


@pytest.fixture
def config(tmp_path: Path, pins: Path, receiver: Receiver) -> Callable[..., Path]:
    """Writes the settings of an agent that has all it needs."""
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
    """An agent with these settings, on a status port of its own."""
    agent = Agent(folder, {key: value for key, value in yaml.safe_load(config.read_text()).items() if key != "status"})
    try:
        until(agent.ready, "the agent is ready")
        yield agent
    finally:
        agent.process.kill()
        agent.process.wait()


def test_on_this_machine_all_checks_pass_and_23_forks_are_found(config: Callable[..., Path], receiver: Receiver) -> None:
    with forking_beside():
        found = diagnosis(config())
    assert (found.of("fail"), found.of("warn"), found.code) == ([], [], 0)
    assert set(found.of("skipped")) <= {"lockdown", "Kubernetes API"}
    assert found["canary"]["text"] == "forked 23 times, and found 23 in a capture of its own"
    assert "no agent runs here" in found["status port"]["text"]
    assert receiver.events == [], "no sink is sent an event"


def test_beside_a_running_agent_it_uses_the_counts_of_that_agent(config: Callable[..., Path], tmp_path: Path) -> None:
    with running(config(), tmp_path) as agent:
        settings = yaml.safe_load(config().read_text())
        found = diagnosis(config(**settings | {"status": agent.status}))
        assert (found.of("fail"), found.of("warn"), found.code) == ([], [], 0)
        assert f"in use by an agent, process {agent.process.pid}: program instance of this version" in found["pins"]["text"]
        assert f"in use by process {agent.process.pid}" in found["journal"]["text"]
        assert "is ready" in found["status port"]["text"]
        assert "the agent counted" in found["canary"]["text"]
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
def test_only_what_prevents_capture_is_reported(
    config: Callable[..., Path], before: tuple[str, ...], name: str, cure: str
) -> None:
    found = diagnosis(config(), *before)
    assert (found.of("fail"), found.code) == ([name], 1)
    assert cure in found[name]["cure"]
    assert found["canary"]["verdict"] == "skipped"
    assert name in found["canary"]["text"]


def test_another_user_is_advised_to_be_root(tmp_path: Path) -> None:
    places = {"FORKLORE_STATE_DIR": "/root/forklore", "FORKLORE_STATUS": f"127.0.0.1:{free_port()}"}
    unprivileged = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    command = [*unprivileged, sys.executable, "-B", "-m", "cli", "doctor", "--json"]
    environment = {**os.environ, **places, "FORKLORE_KUBERNETES__ENABLED": "false"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    found = Diagnosis(done)
    assert {"capabilities", "state directory"} <= set(found.of("fail")) <= {"capabilities", "pins", "state directory"}
    assert "root" in found["state directory"]["cure"]


def test_a_read_only_state_directory_is_reported(config: Callable[..., Path], tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    found = diagnosis(config(), *shell(f"mount -t tmpfs -o ro none {state} && "))
    assert (found.of("fail"), found.code) == (["state directory"], 1)
    assert "Read-only file system" in found["state directory"]["text"]
    assert "state_dir" in found["state directory"]["cure"]
    assert found["canary"]["verdict"] == "ok", "the other checks run, too"


def test_a_disk_that_is_nearly_full_is_a_warning(config: Callable[..., Path], tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    found = diagnosis(config(), *shell(f"mount -t tmpfs -o size=8m none {state} && "))
    assert (found.of("warn"), found.code) == (["state directory"], 0)
    assert "sinks[].journal_bytes" in found["state directory"]["cure"]


def test_without_a_bpf_file_system_it_warns_that_a_restart_will_miss_forks(config: Callable[..., Path]) -> None:
    found = diagnosis(config(), *shell("mount -t tmpfs none /sys/fs/bpf && "))
    assert (found.of("fail"), found.of("warn"), found.code) == ([], ["BPF file system"], 0)
    assert "mount -t bpf bpf /sys/fs/bpf" in found["BPF file system"]["cure"]
    assert found["pins"]["verdict"] == "skipped"


def test_a_bpf_file_system_that_cannot_be_written_is_a_warning(config: Callable[..., Path]) -> None:
    found = diagnosis(config(), *shell("mount -o remount,bind,ro /sys/fs/bpf && "))
    assert found.of("warn") == ["BPF file system"]
    assert "Read-only file system" in found["BPF file system"]["text"]


async def test_an_api_that_answers_403_and_a_sink_that_answers_401_are_reported(
    config: Callable[..., Path], tmp_path: Path
) -> None:
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
    found = await asyncio.to_thread(diagnosis, settings)
    await runner.cleanup()
    assert (found.of("fail"), found.code) == (["Kubernetes API", "sink siem"], 1)
    assert "may not list or watch or get pods" in found["Kubernetes API"]["text"]
    assert "ClusterRole" in found["Kubernetes API"]["cure"]
    assert "401" in found["sink siem"]["text"]
    assert str(tmp_path / "token") in found["sink siem"]["cure"]


@pytest.fixture
def left_pins(config: Callable[..., Path], tmp_path: Path) -> Path:
    """The settings of an agent that was killed, so that its pins are left."""
    settings = config()
    with running(settings, tmp_path):
        pass
    for _ in range(100):
        subprocess.run(["true"], check=True)
    return settings


def test_pins_left_by_an_agent_are_found_and_removed(left_pins: Path, pins: Path) -> None:
    found = diagnosis(left_pins)
    assert (found.of("warn"), found.code) == (["pins"], 0)
    assert f"no agent uses what is pinned in {pins}: program instance of this version" in found["pins"]["text"]
    assert "--clean" in found["pins"]["cure"]
    asked = run(left_pins, "--clean")
    assert (asked.returncode, [*pins.iterdir()] != []) == (2, True), "it was not confirmed"
    removed = run(left_pins, "--clean", "--yes")
    assert removed.returncode == 0
    pending = int(removed.stdout.split(" forks in its ring")[0].split()[-1].replace(",", ""))
    assert pending >= 100, "it reports what is removed with the pins"
    assert not pins.exists()
    assert diagnosis(left_pins).of("warn") == []
    assert run(left_pins, "--clean").stdout.endswith(f"nothing is pinned in {pins}\n")


def test_pins_can_be_removed_without_any_capability(left_pins: Path, pins: Path) -> None:
    """So does the pod that runs on every node after an uninstall."""
    assert run(left_pins, "--clean", "--yes", before=POWERLESS).returncode == 0
    assert not pins.exists()


def test_the_number_of_orphaned_forks_is_reported(left_pins: Path, pins: Path) -> None:
    (instance,) = [folder for folder in pins.iterdir() if folder.name != "dispatch"]
    descriptor = load_libbpf().bpf_obj_get(os.fsencode(instance / "map-config"))
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    BpfMap(descriptor, 4, CONFIG.size, 1).put(bytes(4), CONFIG.pack(1, 0, 0, now, 0))
    os.close(descriptor)
    for _ in range(50):
        subprocess.run(["true"], check=True)
    words = diagnosis(left_pins)["pins"]["text"]
    assert "only counts" in words
    assert int(words.split(" counted without an agent")[0].split()[-1].replace(",", "")) >= 50


def test_an_instance_of_other_settings_is_distinguished(left_pins: Path, config: Callable[..., Path], pins: Path) -> None:
    found = diagnosis(config(capture={"pin": str(pins), "ring_bytes": "2Mi"}))
    assert "of another version or other settings" in found["pins"]["text"]


def test_pins_of_a_running_agent_are_not_removed(config: Callable[..., Path], tmp_path: Path, pins: Path) -> None:
    settings = config()
    with running(settings, tmp_path) as agent:
        refused = run(settings, "--clean", "--yes")
        assert refused.returncode == 1
        assert f"process {agent.process.pid}" in refused.stdout and "stop it first" in refused.stdout
        assert (pins / "dispatch").is_dir()
        before = agent.get("/v1/ledger")["processes"]
        subprocess.run(["true"], check=True)
        assert agent.get("/v1/ledger")["processes"] > before, "it still captures"
