"""A batch's way to a real receiver: at least once, in order, and each fork exactly once in the account."""

import asyncio
from datetime import UTC, datetime

import orjson
import pytest
from aiohttp import web

from agent.sinks.answers import http_answer


async def test_a_batch_that_is_taken_is_accounted_for_and_leaves_the_journal(receiver, way):
    way = way(receiver.url)
    way.put(3, cgroup=7)
    way.put(2, cgroup=8)
    await way.ship()
    assert way.account.delivered == {7: 3, 8: 2}
    assert way.account.lost == {}
    assert receiver.taken == dict.fromkeys(range(5), 1)


async def test_batches_arrive_in_their_order(receiver, way):
    way = way(receiver.url)
    ids = [way.put().id for _ in range(5)]
    await way.ship()
    assert [one for one, _, _ in receiver.tries] == ids


async def test_a_request_says_what_it_carries(receiver, way):
    way = way(receiver.url, headers={"X-Tenant": "shop"})
    way.put()
    await way.ship()
    ((_, headers, _),) = receiver.tries
    assert headers["Content-Type"] == "application/x-ndjson"
    assert headers["Content-Encoding"] == "gzip"
    assert headers["X-Tenant"] == "shop"
    assert "Authorization" not in headers


async def test_through_every_trouble_each_fork_is_accounted_for_once_and_none_is_lost(receiver, way, reset):
    way = way(receiver.url)
    receiver.answers = [500, reset, (429, {"Retry-After": "0"}, b""), 503, 401, 404, 302, 408, reset, 200, 502, 200]
    for _ in range(4):
        way.put(5)
    await way.ship()
    assert way.account.delivered.total() == way.sent == 20
    assert way.account.lost == {}
    assert receiver.taken == dict.fromkeys(range(20), 1)


async def test_a_try_that_failed_is_repeated_byte_for_byte_under_the_same_id(receiver, way, reset):
    way = way(receiver.url)
    receiver.answers = [500, reset, 503]
    way.put()
    await way.ship()
    assert len(receiver.tries) == 4
    assert len({(one, orjson.dumps(lines)) for one, _, lines in receiver.tries}) == 1


async def test_a_batch_that_is_too_large_is_halved_until_it_passes(receiver, way):
    way = way(receiver.url)

    async def at_most_two(_request):
        lines = receiver.tries[-1][2]
        if len(lines) > 2:
            return web.Response(status=413)
        receiver.taken.update(line["n"] for line in lines)
        return web.Response(status=200)

    receiver.usual = at_most_two
    way.put(9)
    way.put(1)
    await way.ship()
    assert receiver.taken == dict.fromkeys(range(10), 1)
    assert way.account.delivered == {7: 10}
    taken = [line["n"] for _, _, lines in receiver.tries if len(lines) <= 2 for line in lines]
    assert taken == list(range(10))


async def test_a_single_line_that_is_too_large_is_set_aside_and_counted(receiver, way):
    way = way(receiver.url)
    receiver.answers = [413]
    way.put(1)
    way.put(1)
    await way.ship()
    assert way.account.lost == {"rejected": {7: 1}}
    assert way.account.delivered == {7: 1}


@pytest.mark.parametrize("status", [400, 422])
async def test_what_will_never_pass_is_set_aside_and_holds_up_nothing(receiver, way, status):
    way = way(receiver.url)
    receiver.answers = [status]
    way.put(3)
    way.put(2)
    await way.ship()
    assert way.account.lost == {"rejected": {7: 3}}
    assert way.account.delivered == {7: 2}


async def test_lines_that_were_refused_are_lost_and_the_others_delivered(receiver, way):
    way = way(receiver.url)
    receipt = {"accepted": 3, "duplicate": 0, "rejected": [{"line": 1, "reason": "x"}, {"line": 4, "reason": "y"}]}
    receiver.answers = [(200, {}, orjson.dumps(receipt))]
    way.put(5)
    await way.ship()
    assert way.account.delivered == {7: 3}
    assert way.account.lost == {"rejected": {7: 2}}


async def test_a_replaced_token_is_taken_up_by_the_next_try(receiver, way, tmp_path):
    token = tmp_path / "token"
    token.write_text("old\n")
    way = way(receiver.url, token_file=token)

    async def only_new(request):
        if request.headers["Authorization"] == "Bearer new":
            return web.Response(status=200)
        token.write_text("new")
        return web.Response(status=401)

    receiver.usual = only_new
    way.put()
    await way.ship()
    assert [headers["Authorization"] for _, headers, _ in receiver.tries] == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirection_is_not_followed_for_the_token_is_not_meant_for_elsewhere(receiver, way, tmp_path, status):
    (tmp_path / "token").write_text("secret")
    way = way(receiver.url, token_file=tmp_path / "token")
    receiver.answers = [(status, {"Location": receiver.url + "?elsewhere"}, b"")]
    receiver.usual = 500
    way.put()
    async with way.running():
        await way.until(lambda: "500" in way.sender.answers)
    assert way.sender.answers[str(status)] == 1
    assert way.account.delivered == {}


async def test_a_token_file_that_is_not_there_yet_is_waited_for(receiver, way, tmp_path):
    way = way(receiver.url, token_file=tmp_path / "token")
    way.put()
    async with way.running():
        await way.until(lambda: "FileNotFoundError" in way.sender.answers)
        (tmp_path / "token").write_text("here")
        await way.until(lambda: not len(way.journal))
    assert way.account.delivered == {7: 3}


@pytest.mark.parametrize("token", [b"two\nlines", b"\xff\xfe", b""])
async def test_a_token_that_can_not_be_sent_is_said_and_ends_nothing(receiver, way, tmp_path, token):
    (tmp_path / "token").write_bytes(token)
    way = way(receiver.url, token_file=tmp_path / "token")
    way.put()
    async with way.running():
        await way.until(lambda: way.sender.answers)
        (tmp_path / "token").write_text("good")
        await way.until(lambda: not len(way.journal))
    assert way.account.delivered == {7: 3}


async def test_a_receiver_that_is_away_is_waited_for(receiver, way):
    way = way("http://127.0.0.1:1/v1/events")
    way.put()
    async with way.running():
        await way.until(lambda: way.sender.answers.get("ClientConnectorError", 0) > 20)
        assert (len(way.journal), way.account.delivered) == (1, {})
        assert way.sender.state.startswith("retry: ClientConnectorError")


async def test_what_was_dropped_from_a_full_journal_meanwhile_is_lost_and_not_delivered_as_well(receiver, way):
    way = way(receiver.url, most=1)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request):
        reached.set()
        await go_on.wait()
        return web.Response(status=200)

    receiver.answers = [slow]
    way.put(3)
    async with way.running():
        await reached.wait()
        way.put(4)
        go_on.set()
        await way.until(lambda: not len(way.journal))
    assert way.account.lost == {"journal_full": {7: 3}}
    assert way.account.delivered == {7: 4}


async def test_answers_are_counted_by_status_and_by_what_went_wrong(receiver, way, reset):
    way = way(receiver.url)
    receiver.answers = [500, 500, reset]
    way.put()
    await way.ship()
    assert way.sender.answers == {"500": 2, "ServerDisconnectedError": 1, "200": 1}


async def test_the_state_is_what_the_receiver_last_said(receiver, way):
    way = way(receiver.url)
    receiver.usual = (401, {}, b"who are you?")
    way.put()
    async with way.running():
        await way.until(lambda: "401" in way.sender.answers)
        await way.until(lambda: way.sender.state == "hold: 401 who are you?")
        receiver.usual = 200
        await way.until(lambda: way.sender.state == "taken: 200")
    assert way.sender.last_taken is not None


async def test_the_pauses_grow_to_a_limit_and_a_success_begins_anew(receiver, way):
    """Asked of the jitter that it is handed; no clock is looked at."""
    way, asked = way(receiver.url), []
    batch = way.put()

    def jitter(low, high):
        asked.append((low, high))
        return high

    def settle(status):
        way.sender._settle(batch, http_answer(status, {}, b"", datetime.now(UTC)), jitter)

    for _ in range(40):
        settle(503)
    highs = [high for _, high in asked]
    assert highs == sorted(highs)
    assert (highs[0] <= 1, highs[-1], {low for low, _ in asked}) == (True, 30.0, {0})
    settle(200)
    settle(503)
    assert asked[-1][1] == highs[0]


GARBAGE = [
    b"\x00\x01\x02",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: minus\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 999999 X\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
async def test_an_answer_that_is_no_http_is_trouble_that_passes(receiver, way, garbage):
    way = way(receiver.url)
    receiver.answers = [garbage]
    way.put()
    await way.ship()
    assert way.account.delivered == {7: 3}


async def test_a_retry_after_beyond_all_numbers_is_trouble_that_passes(receiver, way):
    way = way(receiver.url)
    receiver.answers = [(503, {"Retry-After": "1 Jan 99999999999999999999 00:00:00 GMT"}, b"")]
    way.put()
    async with way.running():
        await way.until(lambda: len(receiver.tries) == 2)


async def test_a_receipt_that_comes_in_pieces_is_read_to_its_end(receiver, way):
    way = way(receiver.url)
    receipt = orjson.dumps({"accepted": 4, "duplicate": 0, "rejected": [{"line": 0, "reason": "x"}]})

    async def in_pieces(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(receipt[:20])
        await asyncio.sleep(0.05)
        await answer.write(receipt[20:])
        await answer.write_eof()
        return answer

    receiver.answers = [in_pieces]
    way.put(5)
    await way.ship()
    assert way.account.lost == {"rejected": {7: 1}}
