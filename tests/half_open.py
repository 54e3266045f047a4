"""Connections that send headers without an end, against a server in a process of its own."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["attack", "rss_mib", "steady_rss_mib"]

FIELDS = b"".join(b"X-%d: " % number + b"a" * 8000 + b"\r\n" for number in range(100))


def rss_mib(pid: int) -> float:
    """The process's anonymous memory. Pages of files are not in it: those of the store's engine come in as its code runs."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1]) / 1024


async def steady_rss_mib(pid: int) -> float:
    """Its memory when it has grown by less than 1 MiB for two seconds: a server may go on with its start after it answers."""
    least, since = rss_mib(pid), time.monotonic()
    while time.monotonic() < since + 2:
        await asyncio.sleep(0.1)
        if (now := rss_mib(pid)) > least + 1:
            least, since = now, time.monotonic()
    return rss_mib(pid)


async def attack(port: int, pid: int, connections: int = 250) -> float:
    """Opens them all, and sends 100 headers of 8,000 bytes on each; the most memory that the server took meanwhile, MiB."""
    peak = 0.0
    writers = []
    for _ in range(connections):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + FIELDS)
        with suppress(ConnectionError):
            async with asyncio.timeout(0.05):
                await writer.drain()
        peak = max(peak, rss_mib(pid))
    for _ in range(20):
        await asyncio.sleep(0.05)
        peak = max(peak, rss_mib(pid))
    for writer in writers:
        writer.close()
    return peak
