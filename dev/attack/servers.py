"""Agents and collectors as processes of their own, each in a cgroup with the memory limit of its container in the chart."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from agent.settings.values import parse_size
from dev.demo.children import free_port

__all__ = ["Server", "chart_limit", "running"]

ROOT: Final = Path(__file__).resolve().parents[2]
CGROUPS: Final = Path("/sys/fs/cgroup")
START_S: Final = 90.0
STOP_S: Final = 20.0


def chart_limit(part: str) -> int:
    """Bytes that the chart's container of `part` may take, agent or collector."""
    values = yaml.safe_load((ROOT / "charts/forklore/values.yaml").read_text())
    return parse_size(values[part]["resources"]["limits"]["memory"])


@dataclass(frozen=True)
class Server:
    """`address`: host and port of the one attacked. `tls`: what verifies it, when it speaks TLS."""

    part: str
    address: str
    limit: int
    process: asyncio.subprocess.Process
    log: Path
    tls: ssl.SSLContext | None = None

    @property
    def name(self) -> str:
        return f"{self.part}, TLS" if self.tls else self.part

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.address}"

    def connector(self) -> aiohttp.TCPConnector:
        """Of a client that trusts it."""
        return aiohttp.TCPConnector(ssl=self.tls or True)

    @property
    def ended(self) -> bool:
        return self.process.returncode is not None

    def rss_mib(self) -> float:
        """0 when it has ended."""
        return self._memory_mib("VmRSS:")

    def peak_mib(self) -> float:
        """The most since it was started; 0 when it has ended."""
        return self._memory_mib("VmHWM:")

    def _memory_mib(self, key: str) -> float:
        with suppress(OSError):
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith(key):
                    return int(line.split()[1]) / 1024
        return 0.0

    def cpu_s(self) -> float:
        """Seconds of CPU that it has taken; 0 when it has ended."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def verdict(self) -> str:
        """How it is, in a few words."""
        if not self.ended:
            return "runs"
        killed = self.process.returncode == -9
        return f"killed for memory at {self.limit >> 20} MiB" if killed else f"ended with {self.process.returncode}"


@asynccontextmanager
async def running(
    part: str, folder: Path, settings: Mapping[str, Any], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """Starts it with its own port on loopback, waits until it listens, and ends it. `tls`: what verifies it. Raises
    TimeoutError, RuntimeError when it ends instead."""
    port, limit = free_port(20_000 + os.getpid() % 10_000), chart_limit(part)
    where = f"127.0.0.1:{port}"
    config, log = folder / f"{part}.yaml", folder / f"{part}.log"
    config.write_text(json.dumps({"status" if part == "agent" else "listen": where, **settings}))
    with _memory_limit(f"forklore-attack-{part}-{os.getpid()}", limit) as group, log.open("wb") as output:
        # The shell enters the cgroup before it becomes the server, so that all of its memory counts.
        script = 'echo $$ > "$0" && exec "$@"'
        command = (str(group / "cgroup.procs"), sys.executable, "-m", "cli", part, "--config", str(config))
        process = await asyncio.create_subprocess_exec(
            "setpriv", "--pdeathsig", "KILL", "sh", "-c", script, *command, cwd=ROOT, stdout=output, stderr=output
        )
        server = Server(part, where, limit, process, log, tls)
        try:
            await _listens(server, port)
            if server.ended:
                raise RuntimeError(log.read_text(errors="replace")[-2000:])
            yield server
        finally:
            await _stop(process)


async def _listens(server: Server, port: int) -> None:
    async with asyncio.timeout(START_S):
        while not server.ended:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.1)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


class _memory_limit:  # noqa: N801  a context manager that reads as a function
    """A cgroup of version 2 or 1 with the limit; removed at the end. Swap does not help either."""

    def __init__(self, name: str, limit: int) -> None:
        is_v2 = "memory" in _text(CGROUPS / "cgroup.controllers").split()
        self._group = (CGROUPS if is_v2 else CGROUPS / "memory") / name
        files = ("memory.max", "memory.swap.max") if is_v2 else ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
        self._values = {files[0]: limit, files[1]: 0 if is_v2 else limit}

    def __enter__(self) -> Path:
        self._group.mkdir()
        for place, (file, value) in enumerate(self._values.items()):
            try:
                (self._group / file).write_text(str(value))
            except OSError:
                if place == 0:  # without the limit the attack shows nothing; a kernel may lack the account of swap
                    self._group.rmdir()
                    raise
        return self._group

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._group.rmdir()


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
