"""A Kubernetes API server as a pod finds it: TLS at an address of the cluster, a service account's token, this node's pods.

In a thread of its own: demo's stand-in behind a TLS server.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from dev.demo.kubernetes.api_server import KubernetesApi
from dev.demo.kubernetes.cluster import Cluster
from tests.certificates import Authority

from .kubelet import Account

__all__ = ["ApiServer"]


class ApiServer:
    def __init__(self, address: str, folder: Path) -> None:
        self.cluster = Cluster()
        self._authority = Authority()
        self._ca = self._authority.file(folder, "api-ca.pem").read_text()
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._api = KubernetesApi(self.cluster, token=secrets.token_hex(16))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(20)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def account(self) -> Account:
        return Account(str(self._api.token), self._ca, self._address, self._port)

    def change(self, change: Callable[[Cluster], object]) -> None:
        """Changes the cluster, in the thread that serves it."""

        async def changed() -> None:
            change(self.cluster)

        asyncio.run_coroutine_threadsafe(changed(), self._loop).result(20)

    async def _open(self) -> None:
        await self._api.start()
        self._tls_server = await asyncio.start_server(self._enter, self._address, 0, ssl=self._authority.server(self._address))
        self._port = self._tls_server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._tls_server.close()
        await self._api.stop()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside, outside = await asyncio.open_connection("127.0.0.1", int(self._api.url.rpartition(":")[2]))
        with contextlib.suppress(OSError, asyncio.CancelledError):
            _, pending = await asyncio.wait(
                [asyncio.ensure_future(_hand_on(reader, outside)), asyncio.ensure_future(_hand_on(inside, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in pending:
                task.cancel()
        for end in (outside, writer):
            end.close()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
