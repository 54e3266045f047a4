"""A connection until its TLS is agreed upon, within the bounds of the server."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from collections.abc import Callable
from typing import Final

__all__ = ["Handshake"]

_CLOSE_S: Final = 5.0  # for a client's part in the end of TLS; then its connection is cut off

# asyncio gives each encrypted connection a buffer of this size. With its own 256 KiB the 256 strangers that a collector holds
# would take 64 MiB. A record of TLS has 16 KiB at most.
sslproto.SSLProtocol.max_size = 32 << 10


class Handshake(asyncio.Protocol):
    """The protocol of a TCP connection that has been admitted, until the handshake has ended.

    `agreed`: called with the encrypted transport and what came over it meanwhile. `failed`: called instead, once, when the
    client does not finish within `timeout_s`, breaks off, or speaks no TLS.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        timeout_s: float,
        agreed: Callable[[asyncio.Transport, bytes], None],
        failed: Callable[[], None],
    ) -> None:
        self._context, self._timeout_s = context, timeout_s
        self._agreed, self._failed = agreed, failed
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  TCP
        self._transport = transport
        self._task = asyncio.get_running_loop().create_task(self._shake_hands(transport), name="TLS handshake")

    def data_received(self, data: bytes) -> None:
        """Decrypted, before `agreed` was called: a client may send its request with the end of the handshake."""
        self._received += data

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
        encrypted: asyncio.Transport | None = None
        try:
            encrypted = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=self._timeout_s,
                ssl_shutdown_timeout=_CLOSE_S,
            )
        except OSError:  # ssl.SSLError and a timeout, too
            transport.abort()
        except BaseException:
            transport.abort()
            self._failed()
            raise
        if encrypted is None or encrypted.is_closing():  # the client has gone, or has not spoken TLS
            self._failed()
        else:
            self._agreed(encrypted, bytes(self._received))
