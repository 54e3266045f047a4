"""Public keys out of files and from real HTTPS servers, rotated and away."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from collector.http.service_accounts import Cluster, KeySources, Pace, TokenVerifier
from collector.http.token_refusals import Reason, TokenRefused
from tests.collector.http.service_accounts.api_server import ApiServer, api_server
from tests.collector.http.service_accounts.kubernetes_tokens import ACCOUNT, AUDIENCE, EC, ISSUER, OTHER, RSA, jwks, signed

CLUSTER = Cluster(name="prod", issuer=ISSUER, service_account=ACCOUNT)


def taken(sources: KeySources, token: str) -> str | None:
    return TokenVerifier(sources, AUDIENCE).credential(token).cluster


def refusal(sources: KeySources, token: str) -> Reason:
    with pytest.raises(TokenRefused) as refused:
        taken(sources, token)
    return refused.value.reason


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(tmp_path) as here:
        yield here


async def test_keys_come_out_of_a_file_and_again_when_it_was_replaced(tmp_path: Path) -> None:
    file, other = tmp_path / "jwks.json", tmp_path / "new.json"
    file.write_text(json.dumps(jwks(a=RSA)))
    sources = KeySources([replace(CLUSTER, jwks=file)])
    await sources.refresh()
    assert taken(sources, signed(RSA, kid="a")) == "prod"
    assert refusal(sources, signed(OTHER, kid="b")) is Reason.KEY
    assert sources.due() == []  # not for an unknown key, but for another file
    other.write_text(json.dumps(jwks(b=OTHER)))
    other.replace(file)
    assert sources.due() == ["prod"]
    await sources.refresh()
    assert taken(sources, signed(OTHER, kid="b")) == "prod"


async def test_a_token_that_was_taken_before_is_refused_when_its_key_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(jwks(a=RSA, b=OTHER)))
    sources = KeySources([replace(CLUSTER, jwks=file)])
    await sources.refresh()
    verifier, token = TokenVerifier(sources, AUDIENCE), signed(RSA, kid="a")
    assert verifier.credential(token) == verifier.credential(token)
    file.write_text(json.dumps(jwks(b=OTHER)))
    await sources.refresh()
    with pytest.raises(TokenRefused, match="signed by a key that its issuer's clusters do not have"):
        verifier.credential(token)


async def test_a_token_that_was_taken_before_is_refused_when_it_has_expired(tmp_path: Path) -> None:
    file, now = tmp_path / "jwks.json", [1_785_000_000.0]
    file.write_text(json.dumps(jwks(a=RSA)))
    sources = KeySources([replace(CLUSTER, jwks=file)])
    await sources.refresh()
    verifier, token = TokenVerifier(sources, AUDIENCE, lambda: now[0]), signed(now=now[0])
    assert verifier.credential(token).node == "worker-17"
    now[0] += 3607 + 61
    with pytest.raises(TokenRefused, match="the token expired 61 s ago"):
        verifier.credential(token)


async def test_no_more_tokens_are_kept_than_there_are_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.http.service_accounts.verifier._KEPT", 3)
    (tmp_path / "jwks.json").write_text(json.dumps(jwks(a=EC)))
    sources = KeySources([replace(CLUSTER, jwks=tmp_path / "jwks.json")])
    await sources.refresh()
    verifier = TokenVerifier(sources, AUDIENCE)
    for place in range(5):
        assert verifier.credential(signed(EC, node=f"node-{place}")).node == f"node-{place}"
    assert len(verifier._verified) == 3


@pytest.mark.parametrize("by", ["issuer", "jwks", "api_server"])
async def test_keys_come_from_an_api_server(server: ApiServer, tmp_path: Path, by: str) -> None:
    (tmp_path / "token").write_text("of-the-collector\n")
    files = {"ca_file": tmp_path / "ca.pem", "token_file": tmp_path / "token"}
    cluster = {
        "issuer": replace(CLUSTER, issuer=server.url, **files),
        "jwks": replace(CLUSTER, jwks=f"{server.url}/openid/v1/jwks", **files),
        "api_server": replace(CLUSTER, issuer=None, api_server=server.url, **files),
    }[by]
    issuer = ISSUER if by == "jwks" else server.url
    sources = KeySources([cluster])
    assert refusal(sources, signed(iss=issuer)) is Reason.KEYS_UNREAD
    await sources.refresh()
    assert (sources.troubles, sources.unread) == ({}, 0)
    assert taken(sources, signed(iss=issuer)) == "prod"
    assert server.tokens == ["Bearer of-the-collector"]


async def test_an_api_server_with_its_keys_elsewhere_gives_them_all_the_same(server: ApiServer, tmp_path: Path) -> None:
    server.issuer, server.jwks_uri = "https://oidc.example/id/7", "https://192.0.2.1:6443/openid/v1/jwks"
    sources = KeySources([replace(CLUSTER, issuer=None, api_server=server.url, ca_file=tmp_path / "ca.pem")])
    await sources.refresh()
    assert taken(sources, signed(iss=server.issuer)) == "prod"


async def test_the_collector_s_own_token_goes_to_no_other_server(server: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of-the-collector")
    server.jwks_uri = f"https://localhost:{server.port}/openid/v1/jwks"
    files = {"ca_file": tmp_path / "ca.pem", "token_file": tmp_path / "token"}
    sources = KeySources([replace(CLUSTER, issuer=server.url, **files)])
    await sources.refresh()
    assert (sources.troubles, server.tokens) == ({}, [None])


@pytest.mark.parametrize(
    ("issuer", "jwks_uri", "says"),
    [
        ("https://elsewhere.example", None, "names another issuer than itself"),
        (None, "http://127.0.0.1/jwks", "names no https address `jwks_uri`"),
        (7, None, "has no `issuer` in its discovery document"),
    ],
)
async def test_a_discovery_that_leads_elsewhere_is_not_followed(
    server: ApiServer, tmp_path: Path, issuer: Any, jwks_uri: Any, says: str
) -> None:
    server.issuer, server.jwks_uri = issuer, jwks_uri
    sources = KeySources([replace(CLUSTER, issuer=server.url, ca_file=tmp_path / "ca.pem")])
    await sources.refresh()
    assert says in sources.troubles[0]
    assert server.tokens == []


async def test_an_unknown_key_is_asked_for_once_in_15_seconds_however_many_show_one(server: ApiServer, tmp_path: Path) -> None:
    now = [0.0]
    sources = KeySources([replace(CLUSTER, issuer=server.url, ca_file=tmp_path / "ca.pem")], clock=lambda: now[0])
    await sources.refresh()

    def due_after(seconds: float) -> bool:
        now[0] += seconds
        for place in range(50):
            assert refusal(sources, signed(OTHER, kid=f"made-up-{place}", iss=server.url)) is Reason.KEY
        return bool(sources.due())

    assert [due_after(14.9), due_after(0.2)] == [False, True]
    await sources.refresh()
    assert not sources.due()
    now[0] += 299.0
    assert not sources.due()  # without an unknown key
    now[0] += 2.0
    assert sources.due()


async def test_rotated_keys_are_read_while_the_collector_runs(server: ApiServer, tmp_path: Path) -> None:
    cluster = replace(CLUSTER, issuer=None, api_server=server.url, ca_file=tmp_path / "ca.pem")
    sources = KeySources([cluster], Pace(usual=3600.0, soon=0.0))
    await sources.refresh()
    running = asyncio.create_task(sources.run())
    try:
        server.keys = jwks(a=RSA, b=OTHER)
        rotated = signed(OTHER, kid="b", iss=server.url)
        assert refusal(sources, rotated) is Reason.KEY
        for _ in range(600):
            if sources.version == 2:
                break
            await asyncio.sleep(0.05)
        assert taken(sources, rotated) == "prod"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_keys_stay_while_their_server_is_away_and_the_reason_is_known(server: ApiServer, tmp_path: Path) -> None:
    sources = KeySources([replace(CLUSTER, issuer=server.url, ca_file=tmp_path / "ca.pem")])
    await sources.refresh()
    server.status = 503
    await sources.refresh()
    assert "answers 503" in sources.troubles[0]
    assert (sources.unread, sources.failures) == (0, 1)
    assert taken(sources, signed(iss=server.url)) == "prod"
    server.status = 200
    await sources.refresh()
    assert sources.troubles == {}


async def test_a_server_of_another_authority_is_not_believed(server: ApiServer) -> None:
    sources = KeySources([replace(CLUSTER, issuer=server.url)])
    await sources.refresh()
    assert (sources.issuers, sources.unread) == ((), 1)
    assert "certificate" in sources.troubles[0].lower()


@pytest.mark.parametrize("keys", [[], {"keys": []}, {"keys": [jwks(a=RSA)["keys"][0] | {"n": "!" * 342}]}])
async def test_a_key_set_that_is_none_leaves_the_keys_that_were_there(server: ApiServer, tmp_path: Path, keys: Any) -> None:
    sources = KeySources([replace(CLUSTER, issuer=server.url, ca_file=tmp_path / "ca.pem")])
    await sources.refresh()
    server.keys = keys
    await sources.refresh()
    assert 0 in sources.troubles
    assert len(sources.issuers) == 1


async def test_a_key_set_without_an_end_is_not_read_to_it(server: ApiServer, tmp_path: Path) -> None:
    server.keys = {"keys": ["x" * 1000] * 2000}
    (tmp_path / "jwks.json").write_text(json.dumps(server.keys))
    address, file = (
        replace(CLUSTER, issuer=server.url, ca_file=tmp_path / "ca.pem"),
        replace(CLUSTER, jwks=tmp_path / "jwks.json"),
    )
    sources = KeySources([address, file])
    await sources.refresh()
    assert all("is larger than 1048576 bytes" in sources.troubles[place] for place in (0, 1))
