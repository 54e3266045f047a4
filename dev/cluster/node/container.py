"""One container of a pod: its server, its processes, its end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from dev.cluster.node.kubelet import NodePod
from dev.cluster.node.runtime_interface import RuntimeInterface
from dev.demo.containers import leftovers

__all__ = ["AnswerError", "Container", "EndedError", "Trust", "until"]

_T = TypeVar("_T")
_PATIENCE_S: Final = 30.0
_EXITED: Final = 2  # ContainerState
_ANSWER_S: Final = 10.0


def until(holds: Callable[[], _T], what: str | Callable[[], str], seconds: float = _PATIENCE_S, every: float = 0.05) -> _T:
    """Waits for something to become true; what it was when it did."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := holds():
            return value
        time.sleep(every)
    raise TimeoutError(f"waited {seconds} s in vain until {what if isinstance(what, str) else what()}")


class Trust(NamedTuple):
    """How a container's server is checked: by these certificates (PEM), for this name."""

    ca: str
    name: str


class AnswerError(OSError):
    """A server answered with another status than 200."""


class EndedError(Exception):
    """The container has ended; the text has its status and its output."""


class _TlsConnection(http.client.HTTPSConnection):
    """To an address, whose certificate is for a name."""

    def __init__(self, address: str, port: int, trust: Trust) -> None:
        super().__init__(address, port, timeout=_ANSWER_S)
        self._name = trust.name
        self._tls = ssl.create_default_context(cadata=trust.ca)

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self._name)


class Container:
    """One container of a pod, in the pod's sandbox."""

    def __init__(
        self, runtime: RuntimeInterface, pod: NodePod, sandbox: str, address: str, container_id: str, log: Path
    ) -> None:
        self._runtime = runtime
        self.pod = pod
        self.sandbox = sandbox
        self.address = address
        self.id = container_id
        self.log = log
        self.trust: Trust | None = None  # None: its server speaks plain HTTP

    def status(self) -> dict[str, Any]:
        return dict(self._runtime.call("ContainerStatus", container_id=self.id)["status"])

    def running(self) -> bool:
        return int(self.status()["state"]) < _EXITED

    def log_text(self) -> str:
        """Its stdout and stderr."""
        return "\n".join(line.split(" ", 3)[3] for line in self.log.read_text(errors="replace").splitlines())

    def get(self, port: int, path: str, token: str | None = None, body: bytes | None = None) -> Any:  # noqa: ANN401  JSON
        """What it answers, from the node. `body`: posted. Raises OSError."""
        headers = {"Content-Type": "application/x-ndjson", **({"Authorization": f"Bearer {token}"} if token else {})}
        connection = (
            _TlsConnection(self.address, port, self.trust)
            if self.trust
            else http.client.HTTPConnection(self.address, port, timeout=_ANSWER_S)
        )
        try:
            connection.request("GET" if body is None else "POST", path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            if not self.running():
                raise EndedError(f"it ended: {self.status()}\n{self.log_text()}") from error
            raise OSError(str(error)) from error
        finally:
            connection.close()
        if response.status != 200:
            raise AnswerError(f"{path}: {response.status} {answer[:500]!r}")
        return json.loads(answer) if response.headers.get_content_type() == "application/json" else answer.decode()

    def ready(self, port: int) -> bool:
        """Its readiness probe."""
        try:
            self.get(port, "/readyz")
        except OSError:
            return False
        return True

    def exec(self, *command: str, timeout: int = 60) -> tuple[int, str, str]:
        """As `kubectl exec` does: code, stdout, stderr."""
        answer = self._runtime.call("ExecSync", container_id=self.id, cmd=list(command), timeout=timeout)
        return answer["exit_code"], answer["stdout"], answer["stderr"]

    def stop(self, grace: int = 30) -> tuple[int, float]:
        """SIGTERM, and SIGKILL after so many seconds: exit code, seconds it took."""
        began = time.monotonic()
        self._runtime.call("StopContainer", container_id=self.id, timeout=grace)
        until(lambda: not self.running(), "it has ended")
        return int(self.status()["exit_code"]), time.monotonic() - began

    def kill(self) -> None:
        os.kill(self.pid(), signal.SIGKILL)
        until(lambda: not self.running(), "it has ended")

    def pid(self) -> int:
        """Its first process, on the host."""
        return min(leftovers.processes(leftovers.directories(self.cgroup)[0]))

    @property
    def cgroup(self) -> str:
        return f"{self.pod.cgroup}/{self.id}"

    def memory(self, what: str) -> int:
        """Bytes by the memory controller: `usage`, `max_usage`, or a line of memory.stat."""
        folder = Path("/sys/fs/cgroup/memory") / self.cgroup.lstrip("/")
        if what in {"usage", "max_usage"}:
            return int((folder / f"memory.{what}_in_bytes").read_text())
        return int(dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())[what])
