"""The demo's child processes: forklore's own commands, each with its settings in a file.

They end with the demo, even when it is killed.
"""

import asyncio
import json
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Child:
    """A running `forklore PART --config FILE`; `log` is its stdout and stderr."""

    part: str
    log: Path
    process: asyncio.subprocess.Process

    @classmethod
    async def start(cls, part: str, settings: dict[str, Any], folder: Path) -> Self:
        """Writes the settings to `folder`/PART.yaml (JSON is YAML) and starts the part. Call it from the main thread:
        PR_SET_PDEATHSIG is sent when the thread that forked ends."""
        file, log = folder / f"{part}.yaml", folder / f"{part}.log"
        file.write_text(json.dumps(settings, indent=1))
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "cli", part, "--config", str(file)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C at the terminal goes to the demo only, which stops its children
            )
        return cls(part, log, process)

    @property
    def ended(self) -> bool:
        return self.process.returncode is not None

    async def stop(self, grace_period: float) -> int:
        """Sends SIGTERM, and after `grace_period` seconds SIGKILL; returns the exit code (-n for signal n)."""
        if not self.ended:
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), grace_period)
            except TimeoutError:
                self.process.kill()
        return await self.process.wait()

    def last_log_line(self) -> str:
        """The last line of the log, which has the reason when the process ended by itself."""
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line for line in reversed(lines) if line.strip()), "its log is empty")


def free_port(first: int) -> int:
    """The first TCP port from `first` on that is free at 127.0.0.1."""
    for port in range(first, 65536):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: a port in TIME_WAIT is free
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no port from {first} on is free")
