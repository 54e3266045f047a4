"""The status port over TLS, with the agent's reports as plain values; and what `forklore doctor` makes of it."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest

from agent.doctor.checks.status_port import judge_status_port, read_status_port
from agent.reporting.status import serving, status_app
from agent.settings import SettingsError, load
from tests.certificates import Authority
from wire import VERSION
from wire.http.certificate import ServerCertificate


class Reports:
    begun = True

    def __init__(self):
        self.found = []

    def alive(self):
        return None

    def ready(self):
        return None

    def warnings(self):
        return self.found

    def ledger(self):
        return {"a": "ledger"}

    def pods(self):
        return {}


class Exposition:
    content_type = "text/plain"

    def text(self):
        return b'# TYPE forklore_agent_info gauge\nforklore_agent_info{version="%s"} 1.0\n' % VERSION.encode()


@pytest.fixture
def authority():
    return Authority()


@pytest.fixture
def reports():
    return Reports()


@asynccontextmanager
async def status_port(reports, certificate, token_file=None):
    runner = await serving(status_app(reports, Exposition(), token_file, certificate), "127.0.0.1:0", certificate)
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def get(url, context, **headers):
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_with_a_certificate_the_status_port_speaks_tls_alone(authority, reports, tmp_path):
    (tmp_path / "token").write_text("t")
    async with status_port(reports, ServerCertificate(*authority.server_files(tmp_path, days=30)), tmp_path / "token") as where:
        trust = authority.trusting()
        assert await get(f"https://{where}/readyz", trust) == (200, "ok\n")
        assert (await get(f"https://{where}/v1/ledger", trust))[0] == 401
        assert (await get(f"https://{where}/v1/ledger", trust, Authorization="Bearer t"))[0] == 200
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await get(f"http://{where}/readyz", True)


async def test_the_doctor_asks_over_tls(authority, reports, tmp_path):
    async with status_port(reports, ServerCertificate(*authority.server_files(tmp_path, days=30))) as where:
        result = judge_status_port(await asyncio.to_thread(read_status_port, where, tls=True))
        assert (result.verdict, f"an agent {VERSION} answers on {where}, and is ready" in result.text) == ("ok", True)


async def test_readiness_and_doctor_name_a_certificate_that_ends_and_a_sink_that_is_not_trusted(authority, reports, tmp_path):
    reports.found = ["sink collector: forks.example:9910 is not trusted: its certificate has expired"]
    async with status_port(reports, ServerCertificate(*authority.server_files(tmp_path, days=2))) as where:
        status, text = await get(f"https://{where}/readyz", authority.trusting())
        assert status == 200, "it captures"
        assert text.splitlines()[0] == "ok"
        assert "ends at" in text and reports.found[0] in text
        result = judge_status_port(await asyncio.to_thread(read_status_port, where, tls=True))
        assert result.verdict == "warn"
        assert "ends at" in result.text and "its certificate has expired" in result.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("status_key_file: {key}", "is the key of a status_cert_file"),
        ("status_cert_file: {certificate}.gone", "can't be read: No such file"),
        ("status_cert_file: {certificate}", "do not hold a certificate and its key"),
    ],
)
def test_wrong_files_of_the_status_port_are_refused(authority, tmp_path, text, words):
    certificate, key = authority.server_files(tmp_path)
    file = tmp_path / "agent.yaml"
    file.write_text(text.format(certificate=certificate, key=key))
    with pytest.raises(SettingsError, match=words):
        load(file)
    file.write_text(f"status_cert_file: {certificate}\nstatus_key_file: {key}\n")
    load(file)
