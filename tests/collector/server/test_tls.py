"""A collector that speaks TLS, and one that refuses to speak anything else where others listen."""

import asyncio
import ssl

import aiohttp
import pytest

from collector.server.app import running_collector
from collector.settings import Settings, WrongSettings, load
from tests.certificates import Authority

from .processes import address, ended, process


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def pair(authority, tmp_path):
    certificate, key = authority.server_files(tmp_path)
    return {"cert_file": certificate, "key_file": key}


async def get(url, path, context):
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url + path) as answer:
        return answer.status, await answer.text()


async def test_a_collector_with_a_certificate_answers_over_tls_alone(authority, pair):
    async with running_collector(Settings(listen="127.0.0.1:0", store="memory:", **pair)) as url:
        assert url.startswith("https://")
        assert (await get(url, "/readyz", authority.trusting()))[0] == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await get(url, "/readyz", ssl.create_default_context())
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await get(url.replace("https", "http"), "/readyz", True)
        metrics = (await get(url, "/metrics", authority.trusting()))[1]
        (line,) = [one for one in metrics.splitlines() if one.startswith("forklore_collector_certificate_expires_")]
        assert float(line.split()[1]) > 1.7e9
        assert "forklore_collector_certificate_broken 0.0" in metrics


async def test_a_broken_renewal_is_in_metrics_and_readiness(authority, pair, tmp_path):
    async with running_collector(Settings(listen="127.0.0.1:0", store="memory:", **pair)) as url:
        pair["cert_file"].write_text("broken")
        async with asyncio.timeout(20):
            while "certificate_broken 1.0" not in (await get(url, "/metrics", authority.trusting()))[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        status, text = await get(url, "/readyz", authority.trusting())
        assert status == 200
        assert "the certificate before is used" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("listen: 0.0.0.0:9910\naccess: open", "tls: off"),
        ("listen: 10.1.2.3:9910\naccess: open", "cert_file and key_file"),
        ("listen: 127.0.0.1:9910\nkey_file: {key}", "set that, too"),
        ("listen: 127.0.0.1:9910\ncert_file: {certificate}\ntls: off", "one of them"),
        ("listen: 127.0.0.1:9910\ncert_file: {key}", "do not hold a certificate and its key"),
        ("listen: 127.0.0.1:9910\ncert_file: {certificate}\nkey_file: {key}.gone", "No such file"),
        ("listen: 127.0.0.1:9910\ncert_file: {certificate}.gone", "a file with a certificate in it"),
    ],
)
def test_wrong_tls_settings_are_refused_with_what_is_right(pair, tmp_path, text, words):
    file = tmp_path / "collector.yaml"
    file.write_text(text.format(certificate=pair["cert_file"], key=pair["key_file"]))
    with pytest.raises(WrongSettings) as caught:
        load(file)
    (mistake,) = caught.value.mistakes
    assert words in mistake


@pytest.mark.parametrize(
    "text",
    [
        "listen: 127.0.0.1:9910",
        "listen: 0.0.0.0:9910\naccess: open\ntls: off",
        "listen: 0.0.0.0:9910\naccess: open\ncert_file: {certificate}\nkey_file: {key}",
    ],
)
def test_plain_http_is_for_loopback_or_set_explicitly(pair, tmp_path, text):
    file = tmp_path / "collector.yaml"
    file.write_text(text.format(certificate=pair["cert_file"], key=pair["key_file"]))
    load(file)


async def test_a_collector_that_others_would_reach_without_tls_does_not_start(tmp_path):
    async with process(listen="0.0.0.0:0", access="open", store="memory:") as running:
        code, _, lines = await ended(running)
        assert code == 78
        assert "wrong without TLS" in lines[0]


async def test_plain_http_by_tls_off_is_logged(tmp_path):
    async with process(listen="0.0.0.0:0", access="open", tls="off", store="memory:") as running:
        assert (await address(running)).startswith("http://")
        running.terminate()
        _, _, lines = await ended(running)
        assert any("can read tokens and events" in line for line in lines)
