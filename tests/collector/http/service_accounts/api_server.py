"""An API server's discovery and keys over HTTPS."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trustme
from aiohttp import web

from tests.collector.http.service_accounts.kubernetes_tokens import RSA, jwks


class ApiServer:
    """Discovery and keys over HTTPS, as a kube-apiserver gives them."""

    def __init__(self) -> None:
        self.keys: Any = jwks(a=RSA)
        self.status = 200
        self.tokens: list[str | None] = []
        self.issuer: Any = None  # as its discovery says; None: its own address
        self.jwks_uri: Any = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def discovery(self, _request: web.Request) -> web.Response:
        keys = f"{self.url}/openid/v1/jwks"
        return web.json_response({"issuer": self.issuer or self.url, "jwks_uri": self.jwks_uri or keys})

    async def jwks(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("Authorization"))
        return web.json_response(self.keys, status=self.status)


@asynccontextmanager
async def api_server(folder: Path) -> AsyncIterator[ApiServer]:
    """Its CA is `ca.pem` in the folder."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    here, app = ApiServer(), web.Application()
    app.router.add_get("/.well-known/openid-configuration", here.discovery)
    app.router.add_get("/openid/v1/jwks", here.jwks)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    here.port = runner.addresses[0][1]
    try:
        yield here
    finally:
        await runner.cleanup()
