"""What crosses the network between a real agent and a real collector, both as the chart configures them."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from collector.certificates.command import main as certificates
from tests.charts.conftest import ROOT, Chart, Render, _binaries
from tests.collector.server.processes import address, process

from .agent_process import PATIENCE, Agent

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(150)]

_ETH_P_ALL = 3
_PORTS = struct.Struct("!HH")


class Captured:
    """Bytes of all TCP segments over loopback from or to a port, as tcpdump sees them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stopped = threading.Event()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        self._socket.bind(("lo", 0))
        self._socket.settimeout(0.1)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.bytes = bytearray()

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        while not self._stopped.is_set():
            try:
                frame = self._socket.recv(1 << 17)
            except TimeoutError:
                continue
            packet = frame[14:]
            if len(packet) >= 40 and packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_TCP:
                segment = packet[(packet[0] & 15) * 4 :]
                if self._port in _PORTS.unpack_from(segment):
                    self.bytes += segment[(segment[12] >> 4) * 4 :]


@contextmanager
def captured(port: int) -> Iterator[Captured]:
    here = Captured(port)
    try:
        yield here
    finally:
        here.close()


def rendered(values: dict[str, Any]) -> Render:
    code, text = _binaries()
    if code == 69:
        pytest.skip(text)
    assert code == 0, text
    given = {"identity": "token", "token": {"existingSecret": "agents"}}
    return Chart(ROOT / ".cache/bin/helm").render(values={"collector": {"enabled": True, "agents": given, **values}})


def moved(settings: Any, folder: Path) -> Any:
    """The settings with the folders of a pod in a folder of the test."""
    return yaml.safe_load(yaml.safe_dump(settings).replace("/run/forklore", str(folder)).replace("/var/lib", str(folder)))


@pytest.mark.parametrize("tls", [True, False], ids=["as the chart is", "with TLS turned off"])
async def test_neither_token_nor_events_are_in_the_bytes_between_agent_and_collector(
    start_agent: Callable[..., Agent], tmp_path: Path, tls: bool
) -> None:
    """Turned off, the same search finds both: so it can."""
    token, cluster = f"token-{secrets.token_hex(16)}", f"cluster-{secrets.token_hex(8)}"
    render = rendered({} if tls else {"tls": {"enabled": False}})
    folders = [tmp_path / name for name in ("tls", "secrets/collector", "secrets/agents", "secrets/collector-ca", "forklore")]
    for folder in folders:
        folder.mkdir(parents=True)
    for folder in folders[1:3]:
        (folder / "token").write_text(token)
    if tls:
        (job,) = [pod for pod in render.pods() if pod.kind == "Job" and "-certificates-" in pod.name]
        servers = [one for one in job.spec["containers"][0]["args"] if one.startswith("--server")]
        assert certificates(["--folder", str(tmp_path / "made"), *servers]) == 0
        places = {"collector.crt": "tls/tls.crt", "collector.key": "tls/tls.key", "ca.crt": "secrets/collector-ca/ca.crt"}
        for name, place in places.items():
            (tmp_path / place).write_bytes((tmp_path / "made" / name).read_bytes())
    config = tmp_path / "collector.yaml"
    here = {"listen": "127.0.0.1:0", "store": "memory:"}
    config.write_text(yaml.safe_dump({**moved(render.settings("collector"), tmp_path), **here}))
    async with process("--config", str(config)) as running:
        url = await address(running)
        assert url.startswith("https://" if tls else "http://")
        (sink,) = moved(render.settings()["sinks"], tmp_path)
        sink |= {"url": f"{url}/v1/events", "compression": "none", "batch": {"wait": "100ms"}}
        with captured(int(url.rpartition(":")[2])) as seen:
            await asyncio.to_thread(
                start_agent, cluster=cluster, kubernetes={"enabled": False}, capture={"summary_interval": "1s"}, sinks=[sink]
            )
            await (await asyncio.create_subprocess_exec("true")).wait()
            context = ssl.create_default_context(cafile=str(folders[3] / "ca.crt")) if tls else True
            async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
                while True:
                    async with session.get(f"{url}/metrics", ssl=context) as answer:
                        if 'batches_total{status="200"}' in await answer.text():
                            break
                    await asyncio.sleep(0.1)
        assert len(seen.bytes) > 1000
        assert (token.encode() in seen.bytes, cluster.encode() in seen.bytes) == (not tls, not tls)
