"""Real containers, started by runc: each with its own pid namespace and a cgroup where a kubelet would put it.

Every call blocks, and may be made from any thread; use `asyncio.to_thread` from asyncio. All containers are removed when the
runtime is closed, and also when its process is killed by SIGKILL: then a cleanup process removes them.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from dev.demo.containers import leftovers
from dev.demo.containers.bundles import Driver, Qos, UnavailableError, build_rootfs, cgroups_path, write_bundle
from dev.demo.containers.cleanup_process import CleanupProcess

START_TIMEOUT = 30.0  # seconds from runc's start to the container's; 0.3 is usual, a busy machine takes longer
CLAIM_TIMEOUT = 3.0  # seconds to wait for the cleanup process of a runtime that was killed just now

__all__ = ["Container", "ContainerError", "Runtime", "UnavailableError", "cgroups_path", "claim", "clean_up"]


class ContainerError(Exception):
    """runc failed; the message is runc's own."""


@dataclass(frozen=True)
class Container:
    """A container that was started. Its paths are those of the host."""

    pod_uid: str
    id: str  # 64 hex digits
    name: str
    cgroups_path: str  # below the root of each hierarchy
    pid: int  # of its first process, in the host's pid namespace
    rootfs: Path
    work: Path  # /work inside, read-write, to exchange files
    log: Path  # its stdout and stderr
    state_root: Path  # runc's --root


class Runtime:
    """Starts containers: a context manager that leaves nothing behind.

    `root` is this runtime's own directory, created if it is missing and removed at the end. What a crashed runtime left there
    is removed first. Raises UnavailableError when runc or busybox-static is missing, BlockingIOError when another live runtime
    uses the same root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._runcs: dict[str, subprocess.Popen[bytes]] = {}  # by container id; each lives as long as its container
        self._containers: dict[str, Container] = {}
        self._lock: int | None = None
        self._cleanup_process: CleanupProcess | None = None
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        if shutil.which("runc") is None:
            raise UnavailableError("runc", "runc")
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = claim(self.root)
        _clean_up(self.root)
        try:
            build_rootfs(self.root / "rootfs")
            self._cleanup_process = CleanupProcess("dev.demo.containers.runtime", self.root)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(
        self,
        argv: Sequence[str],
        *,
        name: str = "app",
        pod_uid: str | None = None,
        container_id: str | None = None,
        qos: Qos = "burstable",
        driver: Driver = "cgroupfs",
        cgroups: str | None = None,
        env: Mapping[str, str] | None = None,
        own_network: bool = False,
        privileged: bool = False,
        writable_cgroups: bool = False,
    ) -> Container:
        """Starts `argv` in a container of its own, and returns when it runs, or has ended already.

        Uid and id are random unless they are given; `cgroups` overrides the path that follows from `qos` and `driver`.
        `privileged` grants the capabilities that nested namespaces and mounts need; with `writable_cgroups` it may make cgroups
        inside its own. Raises ContainerError with runc's message.
        """
        if self._closing.is_set():
            raise ContainerError("the runtime is closing")
        pod_uid = pod_uid or str(uuid.uuid4())
        container_id = container_id or secrets.token_hex(32)
        cgroups = cgroups or cgroups_path(pod_uid, container_id, qos=qos, driver=driver)
        home = self.root / "containers" / container_id
        work, log, pid_file = home / "work", home / "log", home / "pid"
        work.mkdir(parents=True)
        write_bundle(
            home,
            rootfs=self.root / "rootfs",
            argv=argv,
            cgroups_path=cgroups,
            hostname=name,
            env=env or {},
            work=work,
            own_network=own_network,
            privileged=privileged,
            writable_cgroups=writable_cgroups,
        )
        with leftovers.recording_new_directories(cgroups), log.open("ab") as output:
            runc = subprocess.Popen(  # in the foreground, as a shim: it waits, and returns the exit code
                [*self._runc, "run", "--bundle", home, "--pid-file", pid_file, container_id],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            self._runcs[container_id] = runc
            deadline = time.monotonic() + START_TIMEOUT
            while not pid_file.exists():  # runc renames it into place, so it is complete
                if (runc.poll() is not None and not pid_file.exists()) or time.monotonic() > deadline:
                    runc.kill()
                    raise ContainerError(log.read_text(errors="replace").strip() or f"runc exited with {runc.wait()}")
                time.sleep(0.005)
        container = Container(
            pod_uid=pod_uid,
            id=container_id,
            name=name,
            cgroups_path=cgroups,
            pid=int(pid_file.read_text()),
            rootfs=self.root / "rootfs",
            work=work,
            log=log,
            state_root=self.root / "state",
        )
        self._containers[container_id] = container
        return container

    def exec(self, container: Container, argv: Sequence[str], *, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Runs `argv` inside, as `kubectl exec` does; returns its exit code and output. `timeout` in seconds."""
        return subprocess.run(
            [*self._runc, "exec", container.id, *argv], check=False, capture_output=True, text=True, timeout=timeout
        )

    def running(self) -> tuple[Container, ...]:
        """The containers that have not ended."""
        return tuple(c for c in list(self._containers.values()) if self._runcs[c.id].poll() is None)

    def wait(self, container: Container, timeout: float | None = None) -> int:
        """Waits for its end; returns its exit code, 128 + n when signal n ended it. Raises subprocess.TimeoutExpired."""
        return self._runcs[container.id].wait(timeout)

    def kill(self, container: Container, signum: int = signal.SIGKILL) -> None:
        """Sends a signal to its first process; with SIGKILL the whole container ends. It may have ended already."""
        subprocess.run([*self._runc, "kill", container.id, str(int(signum))], check=False, capture_output=True)

    def delete(self, container: Container) -> None:
        """Kills it if it runs, and removes it, its files and, with the pod's last container, the pod's cgroups."""
        _remove(self.root, container.id, container.cgroups_path)
        self._runcs[container.id].wait()
        del self._runcs[container.id], self._containers[container.id]
        leftovers.remove_below(str(Path(container.cgroups_path).parent))

    def close(self) -> None:
        """Removes every container, every cgroup directory that was created for them, and the root directory. May be called
        again."""
        self._closing.set()
        if self._lock is None:
            return
        for container in tuple(self._containers.values()):  # their runc processes reap them
            _remove(self.root, container.id, container.cgroups_path)
            self._runcs[container.id].wait()
        _clean_up(self.root)
        for runc in self._runcs.values():
            runc.wait()
        self._runcs.clear()
        self._containers.clear()
        if self._cleanup_process is not None:
            self._cleanup_process.dismiss()
        shutil.rmtree(self.root, ignore_errors=True)
        os.close(self._lock)
        self._lock = None

    @property
    def _runc(self) -> list[str | Path]:
        return ["runc", "--root", self.root / "state"]


def clean_up(root: Path) -> None:
    """Removes everything that a runtime left behind when its process ended, including its root directory.

    Raises BlockingIOError while that process lives.
    """
    if root.is_dir():
        lock = claim(root)
        _clean_up(root)
        shutil.rmtree(root, ignore_errors=True)
        os.close(lock)


def claim(folder: Path) -> int:
    """Locks a folder for this process; returns the descriptor to close. The kernel releases the lock when the process ends.

    Raises BlockingIOError when another process holds it for longer than a cleanup takes.
    """
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + CLAIM_TIMEOUT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(lock)
                raise
            time.sleep(0.05)
        else:
            return lock


def _clean_up(root: Path) -> None:
    """For the process that has claimed the root."""
    homes = root / "containers"
    _kill_runc(root)
    for home in list(homes.iterdir()) if homes.is_dir() else []:
        with contextlib.suppress(OSError, ValueError, KeyError):  # killed before its bundle was complete: it never started
            _remove(root, home.name, json.loads((home / "config.json").read_text())["linux"]["cgroupsPath"])
        shutil.rmtree(home, ignore_errors=True)
    leftovers.remove_recorded()


def _kill_runc(root: Path) -> None:
    """Kills the runc processes of this root, so that none of them starts a container during the cleanup."""
    command = f"--root\0{root / 'state'}\0run\0".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if command in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)


def _remove(root: Path, container_id: str, cgroups: str) -> None:
    subprocess.run(["runc", "--root", root / "state", "delete", "--force", container_id], check=False, capture_output=True)
    leftovers.kill_processes(cgroups)  # processes that runc does not know, because its state was never written
    shutil.rmtree(root / "containers" / container_id, ignore_errors=True)


if __name__ == "__main__":
    with contextlib.suppress(BlockingIOError):  # a new runtime has claimed the root, and cleaned it up
        clean_up(Path(sys.argv[1]))
