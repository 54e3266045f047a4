"""HTTP: who may use the collector, what a body may be, and what every answer carries."""

import asyncio
import gzip

import orjson
import pytest
import zstandard

from collector.ingest import endpoint
from collector.store.engine import Engine
from tests.collector.conftest import empty_store

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("right-token\n")
    return file


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.compress), ("identity", bytes)])
async def test_a_batch_may_be_compressed(client, make, encoding, pack):
    body = b"".join(orjson.dumps(make.fork(n)) + b"\n" for n in range(50))
    assert (await client.raw(pack(body), Content_Encoding=encoding))["accepted"] == 50


@pytest.mark.parametrize(
    ("body", "headers", "status", "why"),
    [
        (b"not packed", {"Content_Encoding": "gzip"}, 400, "not gzip"),
        (gzip.compress(b"x" * 100, mtime=0)[:-5], {"Content_Encoding": "gzip"}, 400, "ends too early"),
        (b"not packed", {"Content_Encoding": "zstd"}, 400, "not zstd"),
        (b"{}", {"Content_Encoding": "br"}, 415, "gzip, zstd and identity"),
        (b"{}", {"Content_Encoding": "gzip, gzip"}, 415, "gzip, zstd and identity"),
        (b"{}", {"Content_Type": "application/x-www-form-urlencoded"}, 415, "application/x-ndjson"),
        (b"x" * 2001, {}, 413, "2000 bytes"),
        (gzip.compress(bytes(10_000), mtime=0), {"Content_Encoding": "gzip"}, 413, "unpacks to more than 4000"),
        (zstandard.compress(bytes(10_000)), {"Content_Encoding": "zstd"}, 413, "unpacks to more than 4000"),
        (b"\n" * 101, {}, 413, "100 lines"),
    ],
)
async def test_a_refused_body_gets_its_status_and_a_reason(running, body, headers, status, why):
    async with running(max_body=2000, max_batch=4000, max_lines=100) as client:
        assert why in (await client.raw(body, status=status, **headers))["error"]


async def test_a_body_without_a_length_is_limited_too(running):
    async def endless():
        for _ in range(10_000):
            yield b"x" * 1000

    async with running(max_body=5000) as client:
        assert "5000 bytes" in (await client.raw(endless(), status=413))["error"]


async def test_a_slow_body_times_out(running):
    async def slow():
        yield b"{"
        await asyncio.sleep(60)

    async with running(body_timeout="200ms") as client:
        assert "did not come" in (await client.raw(slow(), status=408))["error"]


async def test_bodies_that_make_no_progress_give_their_places_back(running, make, monkeypatch):
    monkeypatch.setattr(endpoint, "HEAD_START_S", 0.3)

    async def dripping():
        while True:
            yield b"x"
            await asyncio.sleep(0.02)

    async with running(batches=1, body_timeout="60s") as client:
        assert "did not come" in (await client.raw(dripping(), status=408))["error"]
        large = b"\n".join(orjson.dumps(make.fork(n)) for n in range(100))
        assert (await client.raw(large))["accepted"] == 100


async def test_a_batch_of_many_streams_is_refused_before_the_store_reads_any(running, make):
    def of_stream(number):
        boot, _, rest = make.fork(0)["id"].partition(".")
        return {**make.fork(0), "id": f"{boot}.{number:016x}.{rest.partition('.')[2]}"}

    async with running() as client:
        many = b"\n".join(orjson.dumps(of_stream(number)) for number in range(1, 10))
        assert "more than 8 streams" in (await client.raw(many, status=400))["error"]
        few = b"\n".join(orjson.dumps(of_stream(number)) for number in range(1, 9))
        assert (await client.raw(few))["accepted"] == 8


async def test_an_empty_batch_is_a_batch(client):
    assert await client.raw(b"") == {"accepted": 0, "duplicate": 0, "rejected": []}


async def test_without_the_token_every_request_is_refused(running, make, token_file):
    async with running(token_file=token_file) as client:
        for wrong in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic right-token"},
            {"Authorization": "Bearer"},
        ):
            async with client.session.post(f"{client.url}/v1/events", data=b"{}", headers=wrong) as answer:
                assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="forklore"')
            for path in ("/v1/pods", "/v1/pods/a/b", "/v1/ledger", "/v1/forks", "/v1/stream", "/", "/v1/nothing"):
                await client.get(path, status=401, **wrong)
        for open_path in ("/healthz", "/readyz", "/metrics", "/static/frame.css"):
            await client.get(open_path)
        right = {"Authorization": "bearer right-token"}
        assert (await client.post(make.fork(1), **right))["accepted"] == 1
        assert len((await client.get("/v1/pods", **right))["pods"]) == 1
        assert "cart-1" in await client.get("/", **right)


async def test_a_token_that_changes_holds_from_then_on(running, make, token_file):
    async with running(token_file=token_file) as client:
        await client.post(make.fork(1), Authorization="Bearer right-token")
        fresh = token_file.with_name("fresh")
        fresh.write_text("second-token")
        fresh.replace(token_file)  # as Kubernetes does it
        await client.post(make.fork(2), status=401, Authorization="Bearer right-token")
        await client.post(make.fork(2), Authorization="Bearer second-token")
        token_file.write_text("")  # half-written: the last good one stays, and an empty one never fits
        await client.post(make.fork(3), status=401, Authorization="Bearer ")
        await client.post(make.fork(3), Authorization="Bearer second-token")
        token_file.unlink()
        await client.post(make.fork(4), Authorization="Bearer second-token")


async def test_a_browser_signs_in_once_and_may_read_but_not_write(running, make, token_file):
    async with running(token_file=token_file) as client:
        assert 'type="password"' in await client.get("/", status=401)
        async with client.session.post(f"{client.url}/signin", data={"token": "wrong"}, allow_redirects=False) as answer:
            assert answer.status == 401 and "not valid" in await answer.text() and not answer.cookies
        async with client.session.post(f"{client.url}/signin", data={"token": "right-token"}, allow_redirects=False) as answer:
            assert answer.status == 303
            cookie_header = answer.headers["Set-Cookie"]
            assert "HttpOnly" in cookie_header and "SameSite=Strict" in cookie_header and "right-token" not in cookie_header
            cookie = cookie_header.split(";")[0]
        assert (await client.get("/v1/pods", Cookie=cookie))["pods"] == []
        await client.get("/", Cookie=cookie)
        await client.post(make.fork(1), status=401, Cookie=cookie)
        token_file.write_text("second-token")
        await client.get("/v1/pods", status=401, Cookie=cookie)


@pytest.mark.parametrize(
    "path", ["/", "/v1/pods", "/v1/pods/a/b", "/static/live.js", "/static/nothing", "/healthz", "/nowhere"]
)
async def test_every_response_forbids_content_of_other_sites(client, path):
    async with client.session.get(client.url + path) as answer:
        assert answer.headers["Content-Security-Policy"] == CSP
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"


async def test_an_unknown_path_of_the_api_is_a_json_error(client):
    assert "no pod" in (await client.get("/v1/pods/shop/unknown", status=404))["error"]
    assert (await client.get("/v1/nothing", status=404))["error"] == "Not Found"
    assert (await client.get("/v1/events", status=405))["error"] == "Method Not Allowed"
    for limit in ("0", "1001", "x", "-1", "²"):
        assert "limit" in (await client.get(f"/v1/pods?limit={limit}", status=400))["error"]


async def test_names_with_slashes_and_worse_can_be_asked_for(client, make):
    await client.post(make.fork(1, pod="a/b ?#%", namespace="ü"))
    assert (await client.get("/v1/pods/%C3%BC/a%2Fb%20%3F%23%25"))["pod"] == "a/b ?#%"


async def test_metrics_count_received_events(client, make):
    await client.post(make.fork(1), make.fork(1), b"nonsense")
    await client.raw(b"", status=415, Content_Encoding="br")
    text = await client.get("/metrics")
    for line in (
        'forklore_collector_events_total{outcome="accepted"} 1.0',
        'forklore_collector_events_total{outcome="duplicate"} 1.0',
        'forklore_collector_events_total{outcome="rejected"} 1.0',
        'forklore_collector_batches_total{status="200"} 1.0',
        'forklore_collector_batches_total{status="415"} 1.0',
        "forklore_collector_batch_seconds_count 2.0",
        'forklore_collector_store_rows{table="fork"} 1.0',
    ):
        assert line in text.splitlines()


async def test_while_the_store_does_not_answer_nothing_is_acknowledged(running, make, tmp_path):
    """Not even the half of a batch that had been written when the store failed; and it is new when it comes again."""
    async with running(store=empty_store(tmp_path / "store")) as client:
        await client.post(make.fork(1))
        other = Engine.open(f"chdb://{tmp_path}/store")
        other.writer.command("RENAME TABLE came_in TO hidden")
        assert "send this batch again" in (await client.post(make.fork(2), make.summary(1, 2), status=503))["error"]
        other.writer.command("RENAME TABLE hidden TO came_in")
        assert await client.post(make.fork(2), make.summary(1, 2)) == {"accepted": 2, "duplicate": 0, "rejected": []}
        assert (await client.pods())["cart-1"]["delivered"] == 2
        other.writer.command("RENAME TABLE holder TO hidden")
        assert "store does not answer" in (await client.get("/v1/pods", status=503))["error"]
        other.writer.command("RENAME TABLE hidden TO holder")
        other.close()
