"""Sinks' receivers, over real HTTP and TLS: what is wrong is named, nothing is added there, and no secret is shown."""

from __future__ import annotations

import socket
import ssl
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from agent.doctor.checks.receivers import judge_receivers, try_receivers
from agent.settings import Settings
from agent.sinks.delivery.connections import Timeouts
from collector.server.app import running_collector
from collector.settings import Settings as CollectorSettings
from tests.certificates import Authority
from tests.faults import FaultProxy

TOKEN = "s3cr3t-t0k3n"


@asynccontextmanager
async def receiver(answer, *, tls=None):
    """Answers every POST by `answer(request)`; yields its address and the requests."""
    got = []

    async def take(request):
        got.append((request.path, dict(request.headers), await request.read()))
        return answer(request)

    app = web.Application()
    app.router.add_post("/{rest:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}", got
    finally:
        await runner.cleanup()


def respond(status, text="", **headers):
    return lambda request: web.Response(status=status, text=text, headers=headers)


async def result_of_sink(results_of, **sink):
    settings = Settings(node="node1", sinks=({"name": "siem", **sink},))
    return results_of(judge_receivers(await try_receivers(settings)))["sink siem"]


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return file


async def test_a_receiver_that_accepts_us_is_ok_and_the_next_command_is_named(results_of, token_file):
    async with receiver(respond(200)) as (url, got):
        result = await result_of_sink(results_of, url=url, token_file=token_file)
    assert result.verdict == "ok"
    assert "forklore sinks test" in result.text
    ((_, headers, body),) = got
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert b"event" not in body


async def test_forklore_s_own_collector_accepts_an_empty_batch(results_of):
    async with running_collector(CollectorSettings(listen="127.0.0.1:0", store="memory:")) as url:
        result = await result_of_sink(results_of, url=f"{url}/v1/events")
    assert result.verdict == "ok"
    assert " 200" in result.text


@pytest.mark.parametrize(
    ("sink", "answer", "text"),
    [
        ({"protocol": "splunk_hec"}, respond(400, '{"text": "No data", "code": 5}'), "No data"),
        ({"protocol": "elasticsearch"}, respond(400, '{"error": {"type": "illegal_argument_exception"}}'), "400"),
        ({"protocol": "otlp"}, respond(200), "200"),
        ({"framing": "json"}, respond(204), "204"),
        ({"compression": "none"}, respond(413), "413"),
    ],
)
async def test_a_receiver_that_only_refuses_an_empty_batch_is_ok(results_of, sink, answer, text):
    async with receiver(answer) as (url, _):
        result = await result_of_sink(results_of, url=url, **sink)
    assert result.verdict == "ok"
    assert text in result.text


@pytest.mark.parametrize(
    ("sink", "answer", "verdict", "cure"),
    [
        ({}, respond(401), "fail", "token"),
        ({}, respond(403), "fail", "token"),
        ({}, respond(404), "fail", "url"),
        ({"protocol": "splunk_hec"}, respond(403, '{"text": "Invalid token", "code": 4}'), "fail", "token"),
        ({}, respond(307, Location="https://elsewhere.example/x?key=secret"), "fail", "url"),
        ({}, respond(503), "warn", "again"),
        ({}, respond(429), "warn", "again"),
    ],
)
async def test_a_receiver_that_refuses_us_is_named_with_a_cure(results_of, token_file, sink, answer, verdict, cure):
    async with receiver(answer) as (url, _):
        result = await result_of_sink(results_of, url=url, token_file=token_file, **sink)
    assert result.verdict == verdict
    assert cure in result.cure
    assert "secret" not in result.text + result.cure


async def test_a_port_without_a_listener_is_named(results_of):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        result = await result_of_sink(results_of, url=f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert (result.verdict, "Connection refused" in result.text) == ("fail", True)
    assert "firewall" in result.cure


async def test_an_unknown_name_is_named(results_of):
    result = await result_of_sink(results_of, url="http://forklore.invalid/")
    assert (result.verdict, "unknown host name" in result.text) == ("fail", True)
    assert "DNS" in result.cure


async def test_an_unknown_ca_is_named_and_with_ca_file_it_is_ok(results_of, tmp_path):
    authority = Authority()
    async with receiver(respond(200), tls=authority.server()) as (url, got):
        result = await result_of_sink(results_of, url=url)
        assert (result.verdict, "unknown CA" in result.text) == ("fail", True)
        assert "ca_file" in result.cure
        assert not got, "nothing is sent to a receiver that is not trusted"
        assert (await result_of_sink(results_of, url=url, ca_file=authority.file(tmp_path))).verdict == "ok"


async def test_a_required_client_certificate_is_named(results_of, tmp_path):
    authority = Authority()
    with FaultProxy(("127.0.0.1", 1), tls=authority.server(wants=authority)) as proxy:
        # A TLS 1.3 server sends the alert after the handshake, and may close before it is read.
        proxy.tls.maximum_version = ssl.TLSVersion.TLSv1_2
        result = await result_of_sink(results_of, url=proxy.url("/"), ca_file=authority.file(tmp_path))
    assert result.verdict == "fail"
    assert "client certificate" in result.text


async def test_a_missing_token_file_is_named(results_of, tmp_path):
    result = await result_of_sink(results_of, url="http://127.0.0.1:1/", token_file=tmp_path / "nowhere")
    assert (result.verdict, "nowhere" in result.text) == ("fail", True)
    assert "correct that file" in result.cure


async def test_an_answer_with_our_token_and_control_characters_is_shown_without_them(results_of, token_file):
    def repeats(request):
        return web.Response(status=400, text=f"\x1b[2Jno: {request.headers['Authorization']}\n")

    async with receiver(repeats) as (url, _):
        result = await result_of_sink(results_of, url=url, token_file=token_file)
    assert TOKEN not in result.text
    assert result.text.isprintable()


async def test_a_receiver_that_hangs_delays_no_other(results_of):
    async with receiver(respond(200)) as (url, _):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            sinks = ({"name": "dead", "url": f"http://127.0.0.1:{silent.getsockname()[1]}/"}, {"name": "live", "url": url})
            settings = Settings(node="node1", sinks=sinks)
            results = results_of(judge_receivers(await try_receivers(settings, Timeouts(connect=1.0, idle=1.0, response=1.0))))
    assert results["sink live"].verdict == "ok"
    assert "timed out without a response" in results["sink dead"].text


def test_no_sink_at_all_is_a_warning(results_of):
    assert results_of(judge_receivers([])).of("warn") == ["sinks"]
