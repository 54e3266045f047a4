"""The real kernel, the real agent as a process of its own, real containers, and a receiver that stores what it receives."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from isal import igzip

from agent.attribution.hierarchy import Hierarchy, choose_hierarchy
from agent.kernel.capture import CannotCapture, Capture, open_capture
from agent.kernel.libbpf import load_libbpf
from agent.kernel.programs import LoadedPrograms
from dev.demo.containers.runtime import Runtime

from .agent_process import Agent, until
from .scenes import Scene, open_scene
from .witness import Witness


@pytest.fixture(scope="session", autouse=True)
def _kernel() -> None:
    """Skips where no test of this folder can work."""
    if os.geteuid() != 0:
        pytest.skip("not root: BPF programs cannot be loaded")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("this kernel has no BTF")


def hierarchy() -> Hierarchy:
    return choose_hierarchy(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())


def remove_cgroups(folder: Path) -> None:
    """Removes a cgroup's directory and those below it, once their processes have ended."""

    def removed() -> bool:
        below = sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True)  # children first
        try:
            for path in (*below, folder):
                path.rmdir()
        except OSError as error:
            # A killed process leaves cgroup.procs some moments before its cgroup can be removed.
            if error.errno != errno.EBUSY:
                raise
            return False
        return True

    until(removed, f"the processes in {folder} have ended")


@pytest.fixture
def load_programs() -> Iterator[Callable[..., LoadedPrograms]]:
    """Loads, attaches and starts program instances, which are closed at the end of the test."""
    opened: list[Capture] = []

    def load(ring_bytes: int = 1 << 20, *, threads: bool = False, storm_limit: int = 0) -> LoadedPrograms:
        here = hierarchy()
        try:
            capture = open_capture(ring_bytes, here.number, here.controller, None)
        except CannotCapture as error:
            pytest.skip(str(error))
        opened.append(capture)
        capture.current.start(threads=threads, storm_limit=storm_limit, alive_ns=300 * 10**9)
        return capture.current

    yield load
    for capture in opened:
        capture.close(keep=False)


@pytest.fixture
def pins() -> Iterator[Path]:
    """A folder for pins, of this test alone. Mounts the BPF file system if needed, and unmounts it again."""
    standard = Path("/sys/fs/bpf")
    mounted = standard.is_mount()
    if not mounted:
        subprocess.run(["mount", "-t", "bpf", "bpf", str(standard)], check=True)
    folder = standard / f"forklore-test-{os.getpid()}-{time.monotonic_ns()}"
    yield folder
    # Not by Pins, which needs the lock: after a test that failed, an agent has it until its own fixture ends.
    shutil.rmtree(folder, ignore_errors=True)
    if not mounted:
        subprocess.run(["umount", str(standard)], check=False)  # another run may have pins there by now


class Receiver:
    """An HTTP endpoint that accepts NDJSON batches and stores their events, in a thread of its own."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.lines: list[bytes] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._ready.wait()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(client_max_size=1 << 28)
        app.router.add_post("/v1/events", self._take)
        self._runner = web.AppRunner(app, auto_decompress=False)
        self._loop.run_until_complete(self._runner.setup())
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1/events"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())

    async def _take(self, request: web.Request) -> web.Response:
        body = igzip.decompress(await request.read())
        for line in body.split(b"\n")[:-1]:
            self.lines.append(line)
            self.events.append(orjson.loads(line))
        return web.json_response({"accepted": 0, "duplicate": 0, "rejected": []})

    def forks(self, container: str) -> list[dict[str, Any]]:
        """Events of the forks made in this container. `container`: its id."""
        return [event for event in self._of(container) if event["enrichment"]["by"] != "attach"]

    def attached_tasks(self, container: str) -> list[dict[str, Any]]:
        """Events of the processes that were forked elsewhere and attached to its cgroup."""
        return [event for event in self._of(container) if event["enrichment"]["by"] == "attach"]

    def _of(self, container: str) -> list[dict[str, Any]]:
        forks = [event for event in list(self.events) if event["event"] == "sched_process_fork" and event["container"]]
        return [event for event in forks if event["container"]["id"] == container]

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


@pytest.fixture
def witness() -> Iterator[Witness]:
    """Counts from the beginning of the test."""
    with Witness() as here:
        yield here


@contextmanager
def pinned(folder: Path, name: str) -> Iterator[int]:
    """The descriptor of a pinned map of the only program instance, or of the dispatcher."""
    (pin,) = folder.glob(f"*/{name}")
    descriptor = load_libbpf().bpf_obj_get(os.fsencode(pin))
    assert descriptor >= 0
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    here = Receiver()
    yield here
    here.close()


@pytest.fixture
def start_agent(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    started: list[Agent] = []

    def start(command: tuple[str, ...] = (), *, wait: bool = True, **settings: Any) -> Agent:
        """`command`: runs it, as a prefix. `wait`: until it is ready."""
        agent = Agent(tmp_path, settings, command)
        started.append(agent)
        if wait:
            until(agent.ready, "the agent is ready")
        return agent

    yield start
    for agent in started:
        agent.process.kill()
        agent.process.wait()


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with Runtime(tmp_path / "runtime") as here:
        yield here


@pytest.fixture
def offline() -> dict[str, Any]:
    """Settings of an agent without a Kubernetes API."""
    return {"kubernetes": {"enabled": False}}


@pytest.fixture
def capture(pins: Path) -> dict[str, Any]:
    """The settings `capture` of the scene's agents; a test may change them before it starts one."""
    return {"pin": str(pins), "keep": False, "summary_interval": "1s", "storm_limit": 0}


@pytest.fixture
async def scene(
    runtime: Runtime, tmp_path: Path, start_agent: Callable[..., Agent], capture: dict[str, Any]
) -> AsyncIterator[Scene]:
    """Its agents capture with `capture`."""
    async with open_scene(runtime, tmp_path) as here:
        here.start, here.capture = start_agent, capture
        yield here
