"""The real agent as a process of its own, and waiting for it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

__all__ = ["PATIENCE", "Agent", "until"]

PATIENCE = float(os.environ.get("TEST_PATIENCE", "45"))  # seconds for what takes one at the most, on a busy machine


def until(holds: Callable[[], Any], what: str) -> Any:
    """Waits until `holds` returns something true, and returns that."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if value := holds():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {PATIENCE} s: {what}")


class Agent:
    """The real agent, started as an operator starts it."""

    def __init__(self, folder: Path, settings: dict[str, Any], command: tuple[str, ...] = ()) -> None:
        with socket.socket() as port:
            port.bind(("127.0.0.1", 0))
            self.status = f"127.0.0.1:{port.getsockname()[1]}"
        self.state = Path(settings.get("state_dir", folder / "state"))
        everything = {"node": "node1", "cluster": "test", "status": self.status, "state_dir": str(self.state), **settings}
        # Without this a test would use the product's default, the node's real pin path.
        everything["capture"] = {"pin": None, **everything.get("capture", {})}
        config = folder / "agent.yaml"
        config.write_text(yaml.safe_dump(everything))
        self.log = folder / "agent.log"
        with self.log.open("wb") as log:
            run = [*command, sys.executable, "-m", "cli", "agent", "--config", str(config)]
            self.process = subprocess.Popen(run, stderr=log, stdout=log)

    def get(self, path: str) -> dict[str, Any]:
        """Fails with the log when the agent has ended."""
        assert self.process.poll() is None, self.log.read_text()
        with urllib.request.urlopen(f"http://{self.status}{path}", timeout=PATIENCE) as answer:
            return dict(json.loads(answer.read()))

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            with urllib.request.urlopen(f"http://{self.status}/readyz", timeout=5):
                return True
        except OSError:
            return False

    def container(self, container_id: str) -> dict[str, Any]:
        """What the agent counts for a container; zeros while it does not know it."""
        for entry in self.get("/v1/pods")["pods"]:
            if entry["container_id"] == container_id:
                return dict(entry)
        return {"processes": 0, "threads": 0, "entered": 0}

    def known_container(self, container_id: str) -> dict[str, Any]:
        """Waits until the agent knows a container that runs. Returns its counts."""
        counts: dict[str, Any] = until(
            lambda: (found := self.container(container_id)).get("container_id") and found, "the agent knows the container"
        )
        return counts

    def stop(self) -> dict[str, Any]:
        """Sends SIGTERM, expects exit code 0, and returns its last ledger."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE + 20) == 0, self.log.read_text()
        return dict(json.loads((self.state / "ledger.json").read_text()))
