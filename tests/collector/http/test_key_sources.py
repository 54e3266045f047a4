"""Public keys out of files and from real HTTPS servers, rotated and away."""

import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import trustme
from aiohttp import web

from collector.http.key_sources import Cluster, KeySources
from collector.http.service_accounts import TokenRefused, verify
from tests.collector.http.test_service_accounts import ACCOUNT, AUDIENCE, ISSUER, NOW, OTHER, RSA, jwks, signed

CLUSTER = Cluster(name="prod", issuer=ISSUER, audience=AUDIENCE, service_account=ACCOUNT)


class ApiServer:
    """Discovery and keys over HTTPS, as a kube-apiserver gives them."""

    def __init__(self) -> None:
        self.keys: Any = jwks(a=RSA)
        self.status = 200
        self.tokens: list[str | None] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def discovery(self, _request: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/openid/v1/jwks"})

    async def jwks(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("Authorization"))
        return web.json_response(self.keys, status=self.status)


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    here, app = ApiServer(), web.Application()
    app.router.add_get("/.well-known/openid-configuration", here.discovery)
    app.router.add_get("/openid/v1/jwks", here.jwks)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    here.port = runner.addresses[0][1]
    yield here
    await runner.cleanup()


async def test_keys_come_out_of_a_file_and_again_when_it_was_replaced(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(jwks(a=RSA)))
    sources = KeySources([replace(CLUSTER, jwks=file)])
    await sources.refresh()
    assert verify(signed(RSA, kid="a"), sources.issuers, lambda: NOW).cluster == "prod"
    with pytest.raises(TokenRefused, match="signed by a key that its issuer does not have"):
        verify(signed(OTHER, kid="b"), sources.issuers, lambda: NOW)
    file.write_text(json.dumps(jwks(a=RSA, b=OTHER)))
    await sources.refresh()
    assert verify(signed(OTHER, kid="b"), sources.issuers, lambda: NOW).cluster == "prod"


@pytest.mark.parametrize("by_discovery", [True, False])
async def test_keys_come_from_an_api_server(server: ApiServer, tmp_path: Path, by_discovery: bool) -> None:
    (tmp_path / "token").write_text("of-the-collector\n")
    address = None if by_discovery else f"{server.url}/openid/v1/jwks"
    issuer = server.url if by_discovery else ISSUER
    files = {"ca_file": tmp_path / "ca.pem", "token_file": tmp_path / "token"}
    sources = KeySources([replace(CLUSTER, issuer=issuer, jwks=address, **files)])
    await sources.refresh()
    assert sources.troubles == {}
    assert verify(signed(RSA, kid="a", iss=issuer), sources.issuers, lambda: NOW).node == "worker-17"
    assert server.tokens == ["Bearer of-the-collector"]


async def test_keys_stay_while_their_server_is_away_and_the_reason_is_known(server: ApiServer, tmp_path: Path) -> None:
    sources = KeySources([replace(CLUSTER, issuer=server.url, ca_file=tmp_path / "ca.pem")])
    await sources.refresh()
    server.status = 503
    await sources.refresh()
    assert "answers 503" in sources.troubles["prod"]
    assert verify(signed(RSA, kid="a", iss=server.url), sources.issuers, lambda: NOW).cluster == "prod"
    server.status = 200
    await sources.refresh()
    assert sources.troubles == {}


async def test_a_server_of_another_authority_is_not_believed(server: ApiServer) -> None:
    sources = KeySources([replace(CLUSTER, issuer=server.url)])
    await sources.refresh()
    assert sources.issuers == []
    assert "certificate" in sources.troubles["prod"].lower()


@pytest.mark.parametrize("keys", [[], {"keys": []}, {"keys": [{"kty": "RSA", "kid": "a", "n": "!", "e": "AQAB"}]}])
async def test_a_key_set_that_is_none_leaves_the_keys_that_were_there(server: ApiServer, tmp_path: Path, keys: Any) -> None:
    sources = KeySources([replace(CLUSTER, issuer=server.url, ca_file=tmp_path / "ca.pem")])
    await sources.refresh()
    server.keys = keys
    await sources.refresh()
    assert "prod" in sources.troubles
    assert len(sources.issuers) == 1


async def test_a_key_set_without_an_end_is_not_read_to_it(server: ApiServer, tmp_path: Path) -> None:
    server.keys = {"keys": ["x" * 1000] * 2000}
    sources = KeySources([replace(CLUSTER, issuer=server.url, ca_file=tmp_path / "ca.pem")])
    await sources.refresh()
    assert "is larger than 1048576 bytes" in sources.troubles["prod"]
