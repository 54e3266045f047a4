"""Sinks' receivers, over real HTTP and TLS: what is in the way is named, nothing is added there, and no secret is shown."""

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
    """Answers every POST by `answer(request, body)`; yields its address and what it got."""
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


def says(status, text="", **headers):
    return lambda request: web.Response(status=status, text=text, headers=headers)


async def findings_of(said, **sink):
    settings = Settings(node="node1", sinks=({"name": "siem", **sink},))
    return said(judge_receivers(await try_receivers(settings)))["sink siem"]


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return file


async def test_a_receiver_that_takes_us_is_ok_and_the_next_command_is_named(said, token_file):
    async with receiver(says(200)) as (url, got):
        finding = await findings_of(said, url=url, token_file=token_file)
    assert finding.verdict == "ok"
    assert "forklore sinks test" in finding.text
    ((_, headers, body),) = got
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert b"event" not in body


async def test_forklore_s_own_collector_is_shown_nothing(said):
    async with running_collector(CollectorSettings(listen="127.0.0.1:0", store="memory:")) as url:
        finding = await findings_of(said, url=f"{url}/v1/events")
    assert finding.verdict == "ok"
    assert " 200" in finding.text


@pytest.mark.parametrize(
    ("sink", "answer", "words"),
    [
        ({"protocol": "splunk_hec"}, says(400, '{"text": "No data", "code": 5}'), "No data"),
        ({"protocol": "elasticsearch"}, says(400, '{"error": {"type": "illegal_argument_exception"}}'), "400"),
        ({"protocol": "otlp"}, says(200), "200"),
        ({"framing": "json"}, says(204), "204"),
        ({"compression": "none"}, says(413), "413"),
    ],
)
async def test_who_only_minds_that_there_is_nothing_in_it_would_take_us(said, sink, answer, words):
    async with receiver(answer) as (url, _):
        finding = await findings_of(said, url=url, **sink)
    assert finding.verdict == "ok"
    assert words in finding.text


@pytest.mark.parametrize(
    ("sink", "answer", "verdict", "cure"),
    [
        ({}, says(401), "fail", "token"),
        ({}, says(403), "fail", "token"),
        ({}, says(404), "fail", "url"),
        ({"protocol": "splunk_hec"}, says(403, '{"text": "Invalid token", "code": 4}'), "fail", "token"),
        ({}, says(307, Location="https://elsewhere.example/x?key=secret"), "fail", "url"),
        ({}, says(503), "warn", "again"),
        ({}, says(429), "warn", "again"),
    ],
)
async def test_who_does_not_take_us_is_named_with_a_cure(said, token_file, sink, answer, verdict, cure):
    async with receiver(answer) as (url, _):
        finding = await findings_of(said, url=url, token_file=token_file, **sink)
    assert finding.verdict == verdict
    assert cure in finding.cure
    assert "secret" not in finding.text + finding.cure


async def test_nobody_there_is_said(said):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        finding = await findings_of(said, url=f"http://127.0.0.1:{nobody.getsockname()[1]}/")
    assert (finding.verdict, "Connection refused" in finding.text) == ("fail", True)
    assert "firewall" in finding.cure


async def test_a_name_that_is_not_known_is_said(said):
    finding = await findings_of(said, url="http://forklore.invalid/")
    assert (finding.verdict, "the name is not known" in finding.text) == ("fail", True)
    assert "DNS" in finding.cure


async def test_an_unknown_ca_is_said_and_given_it_is_ok(said, tmp_path):
    authority = Authority()
    async with receiver(says(200), tls=authority.server()) as (url, got):
        finding = await findings_of(said, url=url)
        assert (finding.verdict, "unknown CA" in finding.text) == ("fail", True)
        assert "ca_file" in finding.cure
        assert not got, "who is not trusted is sent nothing"
        assert (await findings_of(said, url=url, ca_file=authority.file(tmp_path))).verdict == "ok"


async def test_a_client_certificate_that_is_wanted_is_asked_for(said, tmp_path):
    authority = Authority()
    with FaultProxy(("127.0.0.1", 1), tls=authority.server(wants=authority)) as proxy:
        # In 1.3 a server says so after the handshake, and may be gone before that is read.
        proxy.tls.maximum_version = ssl.TLSVersion.TLSv1_2
        finding = await findings_of(said, url=proxy.url("/"), ca_file=authority.file(tmp_path))
    assert finding.verdict == "fail"
    assert "client certificate" in finding.text


async def test_a_token_file_that_is_not_there_is_named(said, tmp_path):
    finding = await findings_of(said, url="http://127.0.0.1:1/", token_file=tmp_path / "nowhere")
    assert (finding.verdict, "nowhere" in finding.text) == ("fail", True)
    assert "mend that file" in finding.cure


async def test_a_receiver_that_repeats_the_token_and_paints_the_terminal_does_neither(said, token_file):
    def repeats(request):
        return web.Response(status=400, text=f"\x1b[2Jno: {request.headers['Authorization']}\n")

    async with receiver(repeats) as (url, _):
        finding = await findings_of(said, url=url, token_file=token_file)
    assert TOKEN not in finding.text
    assert finding.text.isprintable()


async def test_one_that_hangs_holds_up_no_other(said):
    async with receiver(says(200)) as (url, _):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            sinks = ({"name": "dead", "url": f"http://127.0.0.1:{silent.getsockname()[1]}/"}, {"name": "live", "url": url})
            settings = Settings(node="node1", sinks=sinks)
            findings = said(judge_receivers(await try_receivers(settings, Timeouts(connect=1.0, idle=1.0, response=1.0))))
    assert findings["sink live"].verdict == "ok"
    assert "does not answer in time" in findings["sink dead"].text


def test_no_sink_at_all_is_a_warning(said):
    assert said(judge_receivers([])).of("warn") == ["sinks"]
