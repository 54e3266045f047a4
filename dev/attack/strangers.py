"""Attacks of whoever reaches a port, without a token."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from contextlib import suppress
from typing import Final

from dev.attack.servers import Server

__all__ = ["half_open", "idle"]

CONNECTIONS: Final = 250
FIELDS: Final = b"".join(b"X-%d: " % number + b"a" * 8000 + b"\r\n" for number in range(100))
WAIT_S: Final = 15.0  # for the server's own deadline of headers, 10 s
MANY: Final = 2000


async def half_open(server: Server) -> str:
    """250 connections, each with 100 headers of 8,000 bytes and no end of them."""
    return await _connections(server, CONNECTIONS, b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + FIELDS, server.tls)


async def idle(server: Server) -> str:
    """2,000 connections that send nothing, not even a TLS handshake."""
    return await _connections(server, MANY, b"", None)


async def _connections(server: Server, count: int, first: bytes, tls: ssl.SSLContext | None) -> str:
    host, _, port = server.address.rpartition(":")
    statuses: Counter[str] = Counter()
    writers = []
    try:
        for _ in range(count):
            try:
                reader, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port), ssl=tls), 5)
            except (OSError, TimeoutError):
                statuses["not connected"] += 1
                continue
            writers.append((reader, writer))
            if first:
                writer.write(first)
                with suppress(ConnectionError, TimeoutError):
                    await asyncio.wait_for(writer.drain(), 0.05)
        answers = await asyncio.gather(*(_status(reader) for reader, _ in writers))
        statuses.update(answers)
    finally:
        for _, writer in writers:
            writer.transport.abort()
    return ", ".join(f"{number} {status}" for status, number in statuses.most_common())


async def _status(reader: asyncio.StreamReader) -> str:
    try:
        line = await asyncio.wait_for(reader.readline(), WAIT_S)
    except TimeoutError:
        return "still open"
    except ConnectionError:
        return "reset"
    if line.startswith(b"HTTP/"):
        return f"answered {line.split()[1].decode()}"
    return "refused" if line else "closed"
