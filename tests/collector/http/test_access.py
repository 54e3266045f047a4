"""Who may read, who may send, how often; and how little others learn."""

import asyncio
import re

import pytest

from collector.http.limits import BURST, ConcurrencyLimit, LimitReached, RateLimit
from collector.settings import Settings
from collector.store import Store


@pytest.fixture
def files(tmp_path):
    for name in ("both", "read", "ingest"):
        (tmp_path / name).write_text(f"{name}-token\n")
    return tmp_path


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


async def may_read(client, **headers):
    async with client.session.get(f"{client.url}/v1/pods", headers=headers) as answer:
        assert answer.status in (200, 401), await answer.text()
        return answer.status == 200


async def may_send(client, **headers):
    async with client.session.post(f"{client.url}/v1/events", data=b"", headers=headers) as answer:
        assert answer.status in (200, 401), await answer.text()
        return answer.status == 200


async def test_each_token_is_good_for_its_scope_and_no_other(running, files):
    given = {"token_file": files / "both", "read_token_file": files / "read", "ingest_token_file": files / "ingest"}
    async with running(**given) as client:
        rights = {
            name: (await may_read(client, **bearer(f"{name}-token")), await may_send(client, **bearer(f"{name}-token")))
            for name in ("both", "read", "ingest", "no")
        }
        assert rights == {"both": (True, True), "read": (True, False), "ingest": (False, True), "no": (False, False)}
        assert "cart" not in await client.get("/", status=401, **bearer("ingest-token"))


@pytest.mark.parametrize(("given", "rights"), [("read", (True, False)), ("ingest", (False, True))])
async def test_a_scope_without_a_token_is_closed_and_not_open(running, files, given, rights):
    async with running(**{f"{given}_token_file": files / given}) as client:
        assert (await may_read(client), await may_send(client)) == (False, False)
        assert (
            await may_read(client, **bearer(f"{given}-token")),
            await may_send(client, **bearer(f"{given}-token")),
        ) == rights


async def test_several_tokens_hold_at_once_and_one_that_is_taken_out_holds_no_more(running, files):
    async with running(token_file=files / "both") as client:
        fresh = files / "fresh"
        fresh.write_text("\n both-token \r\nnew-token\n\n")
        fresh.replace(files / "both")
        assert [await may_read(client, **bearer(token)) for token in ("both-token", "new-token", "")] == [True, True, False]
        (files / "both").write_text("new-token\n")
        assert [await may_read(client, **bearer(token)) for token in ("both-token", "new-token")] == [False, True]


async def test_a_browsers_cookie_lives_as_long_as_its_own_token(running, files):
    (files / "both").write_text("old\nnew\n")
    async with running(token_file=files / "both") as client:
        cookies = []
        for token in ("old", "new"):
            async with client.session.post(f"{client.url}/signin", data={"token": token}, allow_redirects=False) as answer:
                cookies.append(answer.headers["Set-Cookie"].partition(";")[0])
        client.session.cookie_jar.clear()
        assert cookies[0] != cookies[1]
        assert [await may_read(client, Cookie=cookie) for cookie in cookies] == [True, True]
        assert not await may_send(client, Cookie=cookies[0])
        (files / "both").write_text("new\n")
        assert [await may_read(client, Cookie=cookie) for cookie in cookies] == [False, True]


async def test_an_ingest_token_opens_no_page(running, files):
    async with running(read_token_file=files / "read", ingest_token_file=files / "ingest") as client:
        answer = await client.session.post(f"{client.url}/signin", data={"token": "ingest-token"}, allow_redirects=False)
        assert answer.status == 401 and not answer.cookies


async def test_a_user_named_by_a_trusted_proxy_may_read_and_not_send(running, files):
    async with running(trusted_proxies=("127.0.0.0/8",), ingest_token_file=files / "ingest") as client:
        assert not await may_read(client)
        named = {"X-Forwarded-User": "ada@example.org"}
        assert await may_read(client, **named) and not await may_send(client, **named)
        assert await may_send(client, **bearer("ingest-token"))
        assert not await may_read(client, **{"X-Forwarded-User": " "})
        twice = [("X-Forwarded-User", "ada"), ("X-Forwarded-User", "eve")]
        async with client.session.get(f"{client.url}/v1/pods", headers=twice) as answer:
            assert answer.status == 401


async def test_a_user_header_of_an_untrusted_client_is_ignored(running):
    async with running(trusted_proxies=("10.9.9.9/32",)) as client:
        assert not await may_read(client, **{"X-Forwarded-User": "root", "X-Forwarded-For": "10.9.9.9"})


@pytest.mark.parametrize(
    ("settings", "right"),
    [
        ({"listen": "0.0.0.0:0"}, "listen: '0.0.0.0:0' is wrong"),
        ({"listen": "[::]:0"}, "access: open"),
        ({"listen": "10.1.2.3:9910"}, "token_file"),
        ({"listen": "collector.example:9910"}, "token_file"),
        ({"listen": "0.0.0.0:0", "access": "yes"}, "'closed' or 'open'"),
        ({"trusted_proxies": "10.0.0.1/8"}, "10.0.0.7/32"),
        ({"trusted_proxies": "everyone"}, "10.0.0.7/32"),
        ({"access": "open", "trusted_proxies": "10.0.0.1"}, "access: 'open' is wrong"),
    ],
)
def test_access_for_everyone_has_to_be_set_explicitly(settings, right):
    with pytest.raises(ValueError, match=re.escape(right)):
        Settings(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"listen": "127.0.0.1:0"},
        {"listen": "127.9.9.9:0"},
        {"listen": "[::1]:0"},
        {"listen": "localhost:0"},
        {"listen": "0.0.0.0:0", "tls": "off", "access": "open"},
        {"listen": "0.0.0.0:0", "tls": "off", "trusted_proxies": "10.0.0.1, fd00::/8"},
    ],
)
def test_a_loopback_address_open_access_or_a_proxy_need_no_token(settings):
    Settings(**settings)


async def test_without_tokens_a_request_by_host_name_is_refused(running, make):
    """Or a page elsewhere could point its own name at this machine, and read."""
    async with running() as client:
        port = client.url.rpartition(":")[2]
        for host in (f"127.0.0.1:{port}", "localhost", f"LOCALHOST:{port}", f"[::1]:{port}", "a.localhost"):
            assert await may_read(client, Host=host)
        for host in (f"evil.example:{port}", "localhost.evil.example", "x", "::1.evil"):
            async with client.session.get(f"{client.url}/v1/pods", headers={"Host": host}) as answer:
                assert answer.status == 421
    async with running(access="open") as client:
        assert await may_read(client, Host="collector.example")


async def test_a_page_of_another_site_cannot_send(running, make):
    async with running() as client:
        await client.post(make.fork(1), status=403, Sec_Fetch_Site="cross-site")
        await client.post(make.fork(1), status=403, Sec_Fetch_Site="same-site")
        await client.post(make.fork(1), Sec_Fetch_Site="same-origin")


async def test_a_page_from_elsewhere_cannot_change_anything_without_sec_fetch_site(running, make, tmp_path):
    """Browsers send Sec-Fetch-Site to https and localhost only."""
    token_file = tmp_path / "token"
    token_file.write_text("right-token\n")
    async with running(token_file=token_file) as client:
        own, token = client.url, {"Authorization": "Bearer right-token"}
        for path in ("/signin", "/signout", "/v1/events", "/nothing"):
            for site, is_foreign in ((own, False), ("https" + own[4:], False), ("http://evil.example", True), ("null", True)):
                headers = token | {"Origin": site}
                async with client.session.post(own + path, headers=headers, allow_redirects=False) as answer:
                    assert (answer.status == 403) == is_foreign, (path, site)
        await client.post(make.fork(1), **token)  # an agent sends no Origin
    async with running(trusted_proxies=["127.0.0.1/32"], token_file=token_file) as client:
        headers = {"Origin": "https://forks.example", "X-Forwarded-Host": "forks.example"}
        async with client.session.post(f"{client.url}/signout", headers=headers, allow_redirects=False) as answer:
            assert answer.status == 303


async def test_a_client_above_its_rate_gets_a_retry_after(running, make):
    async with running(read_rate=5) as client:
        answers = []
        for _ in range(30):  # a question that needs no store, so that they come quickly
            async with client.session.get(f"{client.url}/v1/pods?limit=x") as answer:
                answers.append((answer.status, answer.headers.get("Retry-After")))
        assert answers[:20] == [(400, None)] * 20 and (429, "1") in answers[20:]
        for _ in range(30):  # neither agents nor the kubelet are asked to wait
            assert (await client.post(make.fork(1)))["rejected"] == []
            await client.get("/healthz")
        await asyncio.sleep(0.5)  # /metrics is a question, too
        assert re.search(r'turned_away_total\{why="rate"\} [1-9]', await client.get("/metrics"))


async def test_a_script_above_its_rate_does_not_use_up_the_rate_of_its_users_pages(running):
    async def statuses(client, path, count):
        found = []
        for _ in range(count):
            async with client.session.get(client.url + path) as answer:
                found.append(answer.status)
        return found

    async with running(read_rate=1) as client:
        assert 429 in await statuses(client, "/v1/pods?limit=x", 8)
        assert await statuses(client, "/nodes", 3) == [200] * 3
        async with client.session.get(f"{client.url}/v1/stream?events=pods") as answer:
            assert answer.status == 200
        assert await statuses(client, "/static/live.js", 20) == [200] * 20
        assert 429 in await statuses(client, "/nodes", 8)  # they have a bound of their own
        assert 429 in await statuses(client, "/v1/stream?events=x", 2)


@pytest.mark.parametrize(("proxies", "secure"), [(("127.0.0.0/8",), True), (("10.9.9.9",), False), ((), False)])
async def test_the_forwarded_scheme_counts_from_a_trusted_proxy_only(running, files, proxies, secure):
    async with running(token_file=files / "both", trusted_proxies=proxies) as client:
        forwarded, form = {"X-Forwarded-Proto": "https"}, {"token": "both-token"}
        async with client.session.post(f"{client.url}/signin", data=form, headers=forwarded, allow_redirects=False) as answer:
            assert answer.status == 303
            assert ("; Secure" in answer.headers["Set-Cookie"]) is secure
        page = await client.get("/", **forwarded, **bearer("both-token"))
        assert (f"https://{client.url[7:]}/v1/events" in page) is secure


async def test_a_client_that_tries_tokens_is_limited_too(running, make, files):
    async with running(read_rate=2, token_file=files / "both") as client:
        statuses = []
        for n in range(12):
            async with client.session.post(f"{client.url}/v1/events", data=b"", headers=bearer(f"guess-{n}")) as answer:
                statuses.append(answer.status)
        assert statuses[:8] == [401] * 8 and 429 in statuses[8:]
        assert (await client.post(make.fork(1), **bearer("both-token")))["accepted"] == 1


async def test_clients_behind_a_trusted_proxy_have_their_own_rates(running, files):
    async def statuses(client, count, address):
        """Of questions that need no store, so that they come quickly."""
        headers = bearer("both-token") | {"X-Forwarded-For": address}
        found = []
        for _ in range(count):
            async with client.session.get(f"{client.url}/v1/pods?limit=x", headers=headers) as answer:
                found.append(answer.status)
        return found

    async with running(read_rate=1, token_file=files / "both", trusted_proxies=("127.0.0.1", "10.0.0.0/8")) as client:
        assert 429 in await statuses(client, 6, "192.0.2.1")
        # What its client says is not taken, and a second proxy of ours is looked through.
        assert await statuses(client, 1, "198.51.100.7, 192.0.2.1, 10.1.1.1") == [429]
        assert await statuses(client, 4, "192.0.2.2") == [400] * 4
    async with running(read_rate=1, token_file=files / "both") as client:
        await statuses(client, 6, "192.0.2.1")
        assert await statuses(client, 1, "192.0.2.3") == [429]


def test_a_bucket_fills_again_and_an_ipv6_client_is_its_network():
    now = [0.0]
    rates = RateLimit(10, lambda: now[0])
    assert [rates.take("192.0.2.1") for _ in range(int(10 * BURST))] == [0] * int(10 * BURST)
    assert rates.take("192.0.2.1") == rates.take("::ffff:192.0.2.1") == pytest.approx(0.1)
    assert rates.take("192.0.2.2") == 0
    now[0] = 0.5
    assert [rates.take("192.0.2.1") == 0 for _ in range(6)] == [True] * 5 + [False]
    for n in range(int(10 * BURST)):
        rates.take(f"2001:db8::{n:x}")
    assert rates.take("2001:db8::ffff") > 0 and rates.take("2001:db8:0:1::1") == 0


def test_more_addresses_than_are_kept_take_no_more_memory():
    rates = RateLimit(1)
    for n in range(20_000):
        rates.take(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert len(rates._buckets) == 10_000


def test_places_come_back_whatever_happens_in_them():
    taken = []
    places = ConcurrencyLimit(1, taken.append)
    with pytest.raises(ZeroDivisionError), places.one():
        with pytest.raises(LimitReached), places.one():
            raise AssertionError
        raise ZeroDivisionError
    with places.one():
        pass
    assert taken == [1, 0, 1, 0]


async def test_a_stranger_learns_no_version_and_sees_no_folder(running, files):
    async with running(token_file=files / "both") as client:
        hidden = ("/", "/static/", "/static/..%2fpages", "/nothing", "/v1/pods", "/v1/nothing")
        for path in (*hidden, "/metrics", "/healthz", "/readyz"):
            async with client.session.get(client.url + path) as answer:
                text = await answer.text()
                assert "Server" not in answer.headers
                assert not re.search(r"aiohttp|python/|0\.\d+\.\d+|Traceback", text.replace("0.0.4", ""), re.IGNORECASE), path
        assert "forklore_collector_build_info" in await client.get("/metrics", **bearer("both-token"))


@pytest.mark.parametrize(
    "noise",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 20_000 + b"\r\n\r\n",
    ],
)
async def test_whoever_speaks_no_http_learns_nothing_either(running, noise):
    async with running() as client:
        host, port = client.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(noise)
        async with asyncio.timeout(10):
            answer = await reader.read(-1)
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")) and b"aiohttp" not in head.lower()
        assert body in (b"Bad Request", b"Request Header Fields Too Large")


async def test_a_cookie_names_one_credential_whatever_else_the_request_shows(running, files, monkeypatch):
    names = []
    monkeypatch.setattr("collector.server.guard.authenticated", lambda _request, name: names.append(name) or True)
    async with running(token_file=files / "both") as client:
        async with client.session.post(f"{client.url}/signin", data={"token": "both-token"}, allow_redirects=False) as answer:
            cookie = answer.headers["Set-Cookie"].partition(";")[0]
        client.session.cookie_jar.clear()
        for authorization in ("Bearer both-token", "Bearer guess-1", "Bearer guess-2", "Basic both-token", "x"):
            assert await may_read(client, Cookie=cookie, Authorization=authorization)
        assert len(names) == 5 and len(set(names)) == 1
        assert names[0].startswith("token ") and cookie.partition("=")[2] not in names[0]


async def test_the_sender_s_credential_reaches_the_store_with_its_batch(running, files, make, monkeypatch):
    reached, insert = [], Store.insert

    async def watched(store, batch, sink=None, credential=None, *others):
        reached.append(credential)
        return await insert(store, batch, sink, credential, *others)

    monkeypatch.setattr(Store, "insert", watched)
    async with running(token_file=files / "both", ingest_token_file=files / "ingest") as client:
        for token in ("both-token", "ingest-token", "both-token"):
            await client.post(make.fork(1), **bearer(token))
    async with running() as client:
        await client.post(make.fork(1))
    first, second, third, without = reached
    assert without is None
    assert first == third != second
    assert (first.cluster, first.node) == (None, None)
    assert "both-token" not in first.name
    (files / "both").write_text("of-node1 cluster=demo node=node1\n")
    async with running(token_file=files / "both") as client:
        await client.post(make.fork(1), **bearer("of-node1"))
    assert (reached[-1].cluster, reached[-1].node) == ("demo", "node1")


async def test_a_flood_of_refused_tokens_is_one_line_of_log_without_them(running, files, caplog):
    async with running(ingest_token_file=files / "ingest") as client:
        for place in range(50):
            await client.post(status=401, **bearer(f"guess-{place}"))
        assert 'tokens_refused_total{reason="unknown"} 50.0' in await client.get("/metrics")
    lines = [line for line in caplog.messages if "was refused" in line]
    assert lines[0] == "127.0.0.1 was refused: the token is none of those that may send to this collector"
    assert len(lines) < 5 and "guess" not in caplog.text


async def test_a_token_of_a_node_may_send_and_reads_nothing(running, files, make):
    (files / "both").write_text("shared\nof-node1 node=node1\n")
    async with running(token_file=files / "both") as client:
        await client.post(make.fork(1), **bearer("of-node1"))
        assert [await may_read(client, **bearer(token)) for token in ("shared", "of-node1")] == [True, False]
        async with client.session.post(f"{client.url}/signin", data={"token": "of-node1"}, allow_redirects=False) as answer:
            assert answer.status == 401
        metrics = await client.get("/metrics")
        assert 'batches_by_credential_total{credential="node"} 1.0' in metrics
