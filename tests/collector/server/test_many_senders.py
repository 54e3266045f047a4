"""Many senders at once: what one of them holds, or sends, does not keep the others out."""

import asyncio
import contextlib
import gzip
import threading

import orjson
import pytest

from collector.ingest import checker, lines
from wire.batch import CONTENT_TYPE, EVENTS_PATH

pytestmark = pytest.mark.timeout(60)


def forks(make, count, first=0):
    return b"\n".join(orjson.dumps(make.fork(number)) for number in range(first, first + count)) + b"\n"


@contextlib.asynccontextmanager
async def opened(client, token="", *, length=10_000_000):
    """A POST whose head was sent."""
    host, _, port = client.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {EVENTS_PATH} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Type: {CONTENT_TYPE}\r\n"
    writer.write(f"{head}Content-Length: {length}\r\n\r\n".encode())
    try:
        yield reader, writer
    finally:
        writer.close()


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "tokens"
    file.write_text("slow-token\nother-token\n")
    return file


async def test_eight_slow_posts_of_one_credential_deny_none_to_others(running, make, token_file):
    async with running(token_file=token_file) as client, contextlib.AsyncExitStack() as stack:
        for _ in range(8):
            _, writer = await stack.enter_async_context(opened(client, "slow-token"))
            writer.write(b"{")
        for token in ("other-token", "slow-token"):
            answer = await client.raw(forks(make, 300), Authorization=f"Bearer {token}")
            assert answer["accepted"] + answer["duplicate"] == 300


async def test_a_credential_that_fills_its_half_of_memory_takes_none_of_the_other(running, make, token_file):
    async with running(token_file=token_file, max_body="64Ki", batches=2) as client, contextlib.AsyncExitStack() as stack:
        _, writer = await stack.enter_async_context(opened(client, "slow-token", length=65_000))
        writer.write(b"x" * 64_000)
        await writer.drain()
        await until_status(client, make, 503)
        assert (await client.raw(forks(make, 20), Authorization="Bearer other-token"))["accepted"] == 20
        writer.close()
        await until_status(client, make, 200)


async def until_status(client, make, status):
    """The collector has read what was sent, or seen the connection closed, at some time."""
    for _ in range(1000):
        if (await posted(client, forks(make, 20), "slow-token"))[0] == status:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"no answer with {status}")


async def posted(client, body, token):
    headers = {"Content-Type": CONTENT_TYPE, "Authorization": f"Bearer {token}"}
    async with client.session.post(f"{client.url}{EVENTS_PATH}", data=body, headers=headers) as response:
        return response.status, await response.json()


@pytest.fixture
def slices(monkeypatch):
    """One for each line. The check of a line `hold` waits until `go` is set; `done` has the lines in the order of checks."""

    class Slices:
        go, held, done = threading.Event(), threading.Event(), []

    real = lines._check_line
    monkeypatch.setattr(lines, "SLICE", 1)

    def check_line(number, line, checked):
        Slices.done.append(bytes(line.text[:4]))
        if line.text == b"hold":
            Slices.held.set()
            assert Slices.go.wait(30)
        real(number, line, checked)

    monkeypatch.setattr(lines, "_check_line", check_line)
    yield Slices
    Slices.go.set()


async def until(event):
    assert await asyncio.to_thread(event.wait, 30)


async def test_a_batch_waits_for_one_slice_of_a_bad_body_and_not_for_its_end(running, slices):
    async with running() as client:
        bad = asyncio.create_task(client.raw(b"hold\n" + b"bad\n" * 500))
        await until(slices.held)
        good = asyncio.create_task(client.raw(b"good\n"))
        await client.metrics_say("forklore_collector_batches_open 2.0")
        slices.go.set()
        assert len((await good)["rejected"]) == 1
        assert len((await bad)["rejected"]) == 501
        assert slices.done.index(b"good") <= 3


async def test_a_client_that_hangs_up_ends_the_check_of_its_body(running, slices):
    body = b"hold\n" + b"more\n" * 500
    async with running() as client:
        async with opened(client, length=len(body)) as (_, writer):
            writer.write(body)
            await until(slices.held)
        await client.metrics_say("forklore_collector_batches_open 1.0")
        slices.go.set()
        await client.metrics_say('forklore_collector_batches_total{status="499"} 1.0')
        assert (await client.raw(b"good\n"))["rejected"]
    assert slices.done.count(b"more") < 500


async def test_large_bodies_of_one_sender_are_few_and_the_others_are_refused(running, slices, monkeypatch):
    monkeypatch.setattr(checker, "LARGE_OF_SENDER", 1)
    async with running() as client:
        first = asyncio.create_task(client.raw(b"a\nb\nhold\n" + b"more\n" * 5))
        await until(slices.held)
        second = asyncio.create_task(client.raw(b"a\nb\nc\n", status=503))
        await client.metrics_say("forklore_collector_batches_open 2.0")
        slices.go.set()
        assert "too many batches" in (await second)["error"]
        assert len((await first)["rejected"]) == 8


async def test_a_body_that_takes_too_long_to_check_is_refused(running, slices, monkeypatch):
    monkeypatch.setattr(checker, "CPU_S", 0.0)
    async with running() as client:
        assert "to check; send smaller batches" in (await client.raw(b"a\nb\nc\n", status=413))["error"]


async def test_a_body_that_waits_too_long_for_its_check_is_refused(running, slices, monkeypatch):
    monkeypatch.setattr(checker, "WAIT_S", 0.1)
    async with running() as client:
        first = asyncio.create_task(client.raw(b"hold\n"))
        await until(slices.held)
        assert "too many batches" in (await client.raw(b"good\n", status=503))["error"]
        slices.go.set()
        assert len((await first)["rejected"]) == 1
        assert len((await client.raw(b"good\n"))["rejected"]) == 1


async def test_small_gzip_bodies_that_hold_much_are_bounded_by_what_they_unpack_to(running):
    async with running(max_batch="1Mi") as client:
        bomb = gzip.compress(bytes(2 << 20), mtime=0)
        assert len(bomb) < 4096
        assert "unpacks to more" in (await client.raw(bomb, status=413, Content_Encoding="gzip"))["error"]
