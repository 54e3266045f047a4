"""The bounded HTTP server over TLS, with real sockets: half-open handshakes, and certificates that are renewed or broken."""

import asyncio
import logging
import ssl
import time
import tracemalloc
from contextlib import asynccontextmanager, suppress
from itertools import count

import pytest
from aiohttp import web

from tests.certificates import Authority
from wire.http.certificate import CertificateError, ServerCertificate
from wire.http.connections import Bounds
from wire.http.server import BoundedRunner

BOUNDS = Bounds(
    connections=20, anonymous=16, per_address=3, per_credential=4, header_s=0.4, idle_s=60.0, body_bytes_per_s=1, progress_s=5.0
)
PATIENT = Bounds(connections=20, anonymous=16, per_address=3, per_credential=4, header_s=60.0)
HTTP = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def authority():
    return Authority()


class Here:
    def __init__(self, runner, certificate, authority):
        self.runner, self.certificate, self.authority = runner, certificate, authority
        self.port = runner.addresses[0][1]
        self._writers = []

    async def tcp(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    async def tls(self, context=None):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context or self.authority.trusting())
        self._writers.append(writer)
        return reader, writer

    async def until_open(self, number):
        async with asyncio.timeout(10):
            while self.runner.counts.open != number:  # noqa: ASYNC110  the server sets no event for it
                await asyncio.sleep(0.02)

    def close(self):
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def serving(authority, folder, bounds=PATIENT):
    """Looks at its certificate's files for every connection."""

    async def get(_request):
        return web.Response(text="ok")

    ticks = count(0.0, 10.0)
    certificate = ServerCertificate(*authority.server_files(folder), clock=lambda: next(ticks))
    app = web.Application()
    app.router.add_get("/", get)
    runner = BoundedRunner(app, bounds, certificate)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    here = Here(runner, certificate, authority)
    try:
        yield here
    finally:
        here.close()
        await runner.cleanup()


async def ask(reader, writer):
    writer.write(HTTP)
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(2)
    return head.split(b" ")[1]


def serial(writer):
    return writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]


async def ended(reader):
    """Waits until the server closes, whatever it sends before."""
    with suppress(ConnectionError, ssl.SSLError):
        while await reader.read(1 << 16):
            pass


async def test_requests_are_answered_over_tls_1_2_and_1_3(authority, tmp_path):
    async with serving(authority, tmp_path) as here:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = authority.trusting()
            context.minimum_version = context.maximum_version = version
            reader, writer = await here.tls(context)
            assert [await ask(reader, writer), await ask(reader, writer)] == [b"200", b"200"]
        await here.until_open(2)


async def test_an_older_tls_is_refused(authority, tmp_path):
    async with serving(authority, tmp_path) as here:
        old = authority.trusting()
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await here.tls(old)
        await here.until_open(0)


async def test_a_handshake_that_does_not_begin_is_a_connection_and_ends_at_the_deadline(authority, tmp_path):
    async with serving(authority, tmp_path, BOUNDS) as here:
        reader, _ = await here.tcp()
        await here.until_open(1)
        await ended(reader)
        await here.until_open(0)


async def test_a_connection_that_sends_nothing_takes_less_than_100_kib(authority, tmp_path):
    many = Bounds(connections=50, anonymous=50, per_address=50, per_credential=4, header_s=60.0)
    async with serving(authority, tmp_path, many) as here:
        await here.tcp()  # what is made once
        await here.until_open(1)
        tracemalloc.start()
        try:
            for _ in range(40):
                await here.tcp()
            await here.until_open(41)
            await asyncio.sleep(0)
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert taken / 40 < 100 << 10


async def test_a_handshake_that_stops_half_way_ends_at_the_deadline(authority, tmp_path):
    outgoing = ssl.MemoryBIO()
    hello = authority.trusting().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    async with serving(authority, tmp_path, BOUNDS) as here:
        for sent in (outgoing.read(), b"\x16\x03\x01\x40\x00" + bytes(100)):  # a whole hello, and a part of one
            reader, writer = await here.tcp()
            writer.write(sent)
            await ended(reader)
        await here.until_open(0)


async def test_half_open_handshakes_take_the_places_of_their_address_alone(authority, tmp_path):
    async with serving(authority, tmp_path) as here:
        for _ in range(PATIENT.per_address):
            await here.tcp()
        await here.until_open(PATIENT.per_address)
        reader, _ = await here.tcp()
        assert await reader.read() == b"", "one too many gets nothing"
        assert here.runner.counts.refused == 1
        context = authority.trusting()
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port, ssl=context, local_addr=("127.0.0.2", 0))
        assert await ask(reader, writer) == b"200"
        writer.transport.abort()
        here.close()
        await here.until_open(0)


async def test_a_server_that_ends_does_not_wait_for_a_handshake(authority, tmp_path):
    async with serving(authority, tmp_path) as here:
        reader, _ = await here.tcp()
        await here.until_open(1)
        await here.runner.cleanup()
        await ended(reader)
        assert here.runner.counts.open == 0


async def test_plain_http_gets_no_answer_that_makes_a_sender_discard_its_batch(authority, tmp_path):
    async with serving(authority, tmp_path) as here:
        reader, writer = await here.tcp()
        writer.write(HTTP)
        answer = b""
        with suppress(ConnectionError):
            answer = await reader.read()
        assert not answer.startswith(b"HTTP/")
        await here.until_open(0)


async def test_a_renewed_certificate_is_for_new_connections_and_the_open_ones_stay(authority, tmp_path):
    async with serving(authority, tmp_path) as here:
        before = await here.tls()
        assert await ask(*before) == b"200"
        authority.server_files(tmp_path, days=2)
        after = await here.tls()
        assert await ask(*after) == b"200"
        assert serial(before[1]) != serial(after[1])
        assert await ask(*before) == b"200", "it is the same connection"
        assert here.certificate.expires_s - time.time() > 86400


@pytest.mark.parametrize("break_it", ["no certificate", "another key", "gone"])
async def test_broken_files_leave_the_certificate_before_in_use_and_are_reported(authority, tmp_path, caplog, break_it):
    async with serving(authority, tmp_path) as here:
        first = await here.tls()
        if break_it == "no certificate":
            (tmp_path / "tls.crt").write_text("not PEM")
        elif break_it == "gone":
            (tmp_path / "tls.key").unlink()
        else:
            (tmp_path / "other").mkdir()
            (tmp_path / "tls.key").write_bytes(authority.server_files(tmp_path / "other")[1].read_bytes())
        with caplog.at_level(logging.INFO):
            for _ in range(2):
                again = await here.tls()
                assert (await ask(*again), serial(again[1])) == (b"200", serial(first[1]))
                again[1].transport.abort()
        assert here.certificate.error
        assert "the certificate before is used, because" in here.certificate.warning(0.0)
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        authority.server_files(tmp_path)
        assert serial((await here.tls())[1]) != serial(first[1])
        assert here.certificate.error is None


def test_a_server_without_a_usable_certificate_does_not_start(authority, tmp_path):
    certificate, key = authority.server_files(tmp_path)
    (tmp_path / "none").write_text("")
    for pair in ((tmp_path / "gone", key), (certificate, tmp_path / "gone"), (tmp_path / "none", key), (tmp_path, key)):
        with pytest.raises(CertificateError, match="|".join(str(file) for file in pair)):
            ServerCertificate(*pair)


def test_a_certificate_near_its_end_is_a_warning(authority, tmp_path):
    certificate = ServerCertificate(*authority.server_files(tmp_path, days=8))
    now = time.time()
    assert abs(certificate.expires_s - (now + 8 * 86400)) < 600
    assert certificate.warning(now) is None
    assert "ends at" in certificate.warning(now + 2 * 86400)
    assert "ended at" in certificate.warning(now + 9 * 86400)
