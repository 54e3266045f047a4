"""What a sender does with a batch for each answer: at least once, in order, and each fork exactly once in the account."""

import asyncio
import gc
import logging
from datetime import UTC, datetime

import orjson
import pytest
from aiohttp import web

from agent.model import NO_CGROUP
from agent.sinks.delivery.responses import Outcome, Result, http

from .sending import Way, numbers_of, until


async def test_a_batch_that_is_taken_is_accounted_for_and_leaves_the_queue(receiver):
    way = Way(receiver.url)
    way.put(3, cgroup=7)
    way.put(2, cgroup=8)
    await way.ship()
    assert way.queue.delivered == {7: 3, 8: 2}
    assert way.queue.lost == {}
    assert receiver.taken == [*range(5)]


async def test_events_of_the_agents_own_are_sent_and_are_no_forks(receiver):
    way = Way(receiver.url)
    way.put(cgroup=[7, NO_CGROUP, NO_CGROUP])
    await way.ship()
    assert (receiver.taken, way.queue.delivered) == ([0, 1, 2], {7: 1})


async def test_batches_arrive_in_their_order(receiver):
    way = Way(receiver.url)
    ids = [way.put().id for _ in range(5)]
    await way.ship()
    assert [one for one, _, _ in receiver.tries] == ids


async def test_a_try_leaves_nothing_that_only_the_collector_of_cycles_would_find(receiver):
    """The agent makes so little of that kind that Python would come for it once an hour."""
    way = Way(receiver.url)
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            way.put()
            await way.ship()
        timeouts = [one for one in gc.get_objects() if isinstance(one, asyncio.Timeout)]
    finally:
        gc.enable()
    assert len(timeouts) < 5


async def test_a_request_says_what_it_carries(receiver):
    way = Way(receiver.url, headers={"X-Tenant": "shop"})
    batch = way.put()
    await way.ship()
    ((key, headers, _),) = receiver.tries
    assert key == batch.id
    assert headers["Content-Type"] == "application/x-ndjson"
    assert headers["Content-Encoding"] == "gzip"
    assert headers["X-Tenant"] == "shop"
    assert headers["Content-Length"] == str(len(batch.body))
    assert headers["User-Agent"].startswith("forklore/")
    assert "Authorization" not in headers


async def test_a_try_that_failed_is_repeated_byte_for_byte_under_the_same_id(receiver):
    way, bodies = Way(receiver.url, compression="none"), []

    async def keep(request):
        bodies.append(await request.read())
        return web.Response(status=500 if len(bodies) < 3 else 200)

    receiver.usual = keep
    batch = way.put()
    await way.ship()
    assert bodies == [batch.body] * 3
    assert [one for one, _, _ in receiver.tries] == [batch.id] * 3


async def test_a_batch_that_is_too_large_is_halved_until_it_passes(receiver):
    way = Way(receiver.url)

    async def at_most_two(_request):
        numbers = receiver.tries[-1][2]
        if len(numbers) > 2:
            return web.Response(status=413)
        receiver.taken += numbers
        return web.Response(status=200)

    receiver.usual = at_most_two
    way.put(9)
    way.put(1)
    await way.ship()
    assert receiver.taken == [*range(10)]
    assert (way.queue.delivered, way.queue.lost) == ({7: 10}, {})
    assert len({key for key, _, _ in receiver.tries}) == len(receiver.tries)


async def test_a_single_event_that_is_too_large_is_set_aside_and_counted_as_such(receiver):
    way = Way(receiver.url)
    receiver.answers = [413]
    way.put(1)
    way.put(1)
    await way.ship()
    assert way.queue.lost == {"too_large": {7: 1}}
    assert (way.queue.delivered, receiver.taken) == ({7: 1}, [1])


@pytest.mark.parametrize("status", [400, 422])
async def test_what_will_never_pass_is_set_aside_and_holds_up_nothing(receiver, status):
    way = Way(receiver.url)
    receiver.answers = [status]
    way.put(cgroup=[7, 7, 8, NO_CGROUP])
    way.put(2)
    await way.ship()
    assert way.queue.lost == {"rejected": {7: 2, 8: 1}}
    assert way.queue.delivered == {7: 2}


async def test_events_that_were_refused_are_lost_and_the_others_delivered(receiver):
    way = Way(receiver.url)
    receipt = {"accepted": 3, "duplicate": 0, "rejected": [{"line": 1, "reason": "x"}, {"line": 4, "reason": "y"}]}
    receiver.answers = [(200, {}, orjson.dumps(receipt))]
    way.put(cgroup=[7, 7, 7, 8, 8])
    await way.ship()
    assert way.queue.delivered == {7: 2, 8: 1}
    assert way.queue.lost == {"rejected": {7: 1, 8: 1}}


class Told:
    """A protocol whose answers are what the test says: Answers, one after the other, then TAKEN."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def __call__(self, status, headers, body, now, batch):
        self.asked.append((status, batch, now))
        return self.answers.pop(0) if self.answers else Outcome(Result.ACCEPTED, "200")


async def test_a_protocol_is_asked_about_each_answer_with_the_batch_that_it_is_for(receiver):
    told = Told()
    way = Way(receiver.url, interpret=told)
    receiver.answers = [207]
    batch = way.put()
    await way.ship()
    ((status, about, now),) = told.asked
    assert (status, about) == (207, batch)
    assert abs((datetime.now(UTC) - now).total_seconds()) < 60


async def test_items_to_be_sent_again_take_the_place_of_the_batch_before_those_that_follow(receiver):
    way = Way(receiver.url, interpret=Told(Outcome(Result.ACCEPTED, "busy", rejected_items=(3,), retry_items=(0, 2))))
    whole = way.put(cgroup=[7, 8, 9, 8, 7])
    way.put(1)
    await way.ship()
    assert [numbers for _, _, numbers in receiver.tries] == [[0, 1, 2, 3, 4], [0, 2], [5]]
    assert len({key for key, _, _ in receiver.tries} | {whole.id}) == 3
    assert way.queue.delivered == {7: 3, 8: 1, 9: 1}
    assert way.queue.lost == {"rejected": {8: 1}}


async def test_before_items_are_sent_again_there_is_a_pause_that_grows_with_every_time(receiver):
    rounds = [Outcome(Result.ACCEPTED, "busy", retry_items=tuple(range(left))) for left in range(7, 0, -1)]
    way = Way(receiver.url, interpret=Told(*rounds))
    way.put(8)
    await way.ship()
    assert [len(numbers) for _, _, numbers in receiver.tries] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert way.pauses == [(0, 1.0), (0, 2.0), (0, 4.0), (0, 8.0), (0, 16.0), (0, 30.0), (0, 30.0)]
    assert way.queue.delivered == {7: 8}
    assert max(len(key) for key, _, _ in receiver.tries) < 128


async def test_a_batch_of_which_nothing_was_taken_keeps_its_name(receiver):
    way = Way(receiver.url, interpret=Told(Outcome(Result.ACCEPTED, "busy", retry_items=(0, 1, 2))))
    batch = way.put(3)
    await way.ship()
    assert [key for key, _, _ in receiver.tries] == [batch.id] * 2
    assert way.queue.settled == 1


@pytest.mark.parametrize(
    ("cgroups", "fields", "delivered", "lost"),
    [
        # Of one cgroup it does not matter which.
        ([7, 7, 7], {"rejected_count": 2}, {7: 1}, {7: 2}),
        # Of several nobody can say whose were delivered: the sums are right, and it is said that they are nobody's.
        ([7, 8, 8], {"rejected_count": 2}, {NO_CGROUP: 1}, {NO_CGROUP: 2}),
        # All of them: theirs.
        ([7, 8, 8], {"rejected_count": 3}, {}, {7: 1, 8: 2}),
        ([7, 8, 8], {"rejected_count": 99}, {}, {7: 1, 8: 2}),
        # A number that came beside places: of what is left.
        ([7, 8, 8, 9], {"rejected_count": 1, "rejected_items": (3,)}, {NO_CGROUP: 2}, {NO_CGROUP: 1, 9: 1}),
        ([7, 7, 8], {"rejected_count": 1, "rejected_items": (2,)}, {7: 1}, {7: 1, 8: 1}),
        ([7, 7, 7], {"rejected_count": 1, "rejected_items": (2,)}, {7: 1}, {7: 2}),
        # Forks before events of the agent's own.
        ([7, NO_CGROUP, NO_CGROUP], {"rejected_count": 1}, {}, {7: 1}),
        ([NO_CGROUP, NO_CGROUP], {"rejected_count": 1}, {}, None),
        # Those by their places are no forks at all.
        ([7, NO_CGROUP, 8, NO_CGROUP], {"rejected_items": (0, 1)}, {8: 1}, {7: 1}),
        # Places that are not there, or twice.
        ([7, 8], {"rejected_items": (2, -1, 10**9, 1, 1), "retry_items": (5,)}, {7: 1}, {8: 1}),
        ([7, 8], {"rejected_items": (0,), "retry_items": (0,)}, {8: 1}, {7: 1}),
        ([7, 8], {"rejected_items": (0, 1)}, {}, {7: 1, 8: 1}),
        ([7, 8], {"rejected_count": -5}, {7: 1, 8: 1}, None),
    ],
)
async def test_whatever_an_answer_takes_and_refuses_the_account_closes(receiver, cgroups, fields, delivered, lost):
    way = Way(receiver.url, interpret=Told(Outcome(Result.ACCEPTED, "200", **fields)))
    way.put(cgroup=cgroups)
    await way.ship()
    assert way.queue.delivered == delivered
    assert way.queue.lost == ({"rejected": lost} if lost else {})
    assert len(receiver.tries) == 1


async def test_a_receiver_that_took_a_batch_and_asks_for_a_pause_gets_it(receiver):
    way = Way(receiver.url, interpret=Told(Outcome(Result.ACCEPTED, "nearly full", pause_s=0.3)))
    way.put()
    way.put()
    start = asyncio.get_running_loop().time()
    await way.ship()
    assert asyncio.get_running_loop().time() - start >= 0.3
    assert way.pauses == []


async def test_the_pauses_grow_to_a_limit_and_a_success_begins_anew(receiver):
    way = Way(receiver.url)
    receiver.answers = [503] * 20 + [200, 503]
    way.put()
    way.put()
    await way.ship()
    highs = [high for _, high in way.pauses]
    assert highs[:20] == sorted(highs[:20])
    assert (highs[0], highs[19], {low for low, _ in way.pauses}) == (1.0, 30.0, {0})
    assert highs[20] == highs[0]


async def test_what_a_receiver_asked_for_is_the_least_pause(receiver):
    way = Way(receiver.url)
    receiver.answers = [(429, {"Retry-After": "1"}, b""), (503, {"Retry-After": "0"}, b"")]
    way.put()
    start = asyncio.get_running_loop().time()
    await way.ship()
    assert asyncio.get_running_loop().time() - start >= 1
    assert way.pauses == [(0, 1), (0, 1)]


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 415, 301, 308])
async def test_a_mistake_in_the_settings_is_waited_for_and_costs_nothing(receiver, status):
    way = Way(receiver.url)
    receiver.answers = [status] * 3
    way.put()
    await way.ship()
    assert way.pauses == [(15.0, 30.0)] * 3
    assert (way.queue.delivered, way.queue.lost) == ({7: 3}, {})


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirection_is_not_followed_for_the_token_is_not_meant_for_elsewhere(receiver, tmp_path, status):
    (tmp_path / "token").write_text("secret")
    way = Way(receiver.url, token_file=tmp_path / "token")
    receiver.answers = [(status, {"Location": receiver.url + "?elsewhere"}, b"")]
    receiver.usual = 500
    way.put()
    async with way.running():
        await until(lambda: "500" in way.sender.responses)
    assert way.sender.responses[str(status)] == 1
    assert way.queue.delivered == {}


async def test_what_was_dropped_from_a_full_queue_meanwhile_is_lost_and_not_delivered_as_well(receiver):
    way = Way(receiver.url)
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
        way.queue.drop()
        go_on.set()
        await until(lambda: not len(way.queue))
    assert way.queue.lost == {"journal_full": {7: 3}}
    assert way.queue.delivered == {7: 4}


@pytest.mark.parametrize("moment", ["asked", "answering", "pausing"])
async def test_cancelled_at_any_moment_it_leaves_the_queue_as_it_was(receiver, moment):
    way = Way(receiver.url)
    reached = asyncio.Event()

    async def hang(request):
        if moment == "answering":
            response = web.StreamResponse(headers={"Content-Length": "10"})
            await response.prepare(request)
            await response.write(b"12345")
        reached.set()
        await asyncio.sleep(60)

    receiver.answers = [(429, {"Retry-After": "60"}, b"")] if moment == "pausing" else [hang]
    batches = [way.put(), way.put()]
    async with way.running():
        await (until(lambda: way.sender.responses) if moment == "pausing" else reached.wait())
        await asyncio.sleep(0.02)
    assert way.queue.waiting == batches
    assert (way.queue.settled, way.queue.delivered, way.queue.lost) == (0, {}, {})
    await Way.ship(way)
    assert receiver.taken == [*range(6)]


async def test_answers_tries_and_bytes_are_counted(receiver):
    way = Way(receiver.url)
    receiver.answers = [500, 500, (429, {"Retry-After": "0"}, b""), 200, 401]
    first, second = way.put(), way.put(5)
    await way.ship()
    sender = way.sender
    assert sender.responses == {"500": 2, "429": 1, "200": 2, "401": 1}
    assert (sender.tries, sender.retries) == (6, 4)
    assert sender.bytes_sent == 4 * len(first.body) + 2 * len(second.body)
    assert sender.last_accepted is not None
    assert len(way.seconds) == 6
    assert all(0 < seconds < 20 for seconds in way.seconds)
    assert sender.durations.cumulative()[-1] == 6


async def test_the_time_of_a_try_is_the_receivers_too(receiver):
    way = Way(receiver.url)

    async def slow(_request):
        await asyncio.sleep(0.2)
        return web.Response()

    receiver.answers = [slow]
    way.put()
    await way.ship()
    assert way.seconds[0] >= 0.2


async def test_the_state_is_what_the_receiver_last_said(receiver):
    way = Way(receiver.url)
    receiver.usual = (401, {}, b"who are you?")
    way.put()
    async with way.running():
        await until(lambda: way.sender.state == "hold: 401 who are you?")
        receiver.usual = 200
        await until(lambda: way.sender.state == "accepted: 200")
    assert way.sender.last_accepted is not None


HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\nFeb 30 node1 sshd: root logged in\u202eevil\x00\x85\u2028\ud7ff".encode()


@pytest.mark.parametrize("status", [200, 400, 401, 413, 500])
async def test_a_receivers_words_can_not_write_lines_of_their_own_into_log_or_state(receiver, caplog, status):
    caplog.set_level(logging.INFO)
    # As a protocol whose author forgot about it would hand it on.
    fates = {200: Result.ACCEPTED, 400: Result.REJECTED, 401: Result.HOLD, 413: Result.SPLIT, 500: Result.RETRY}
    told = Told(Outcome(fates[status], HOSTILE.decode() + "x" * 100_000, rejected_items=(0,) if status == 200 else ()))
    way = Way(receiver.url, interpret=told)
    way.put(1)
    states = []
    async with way.running():
        await until(lambda: way.sender.state != "nothing sent yet" and not states.append(way.sender.state))
        await until(lambda: not len(way.queue))
    lines = [*states, *(record.getMessage() for record in caplog.records)]
    assert any("owned" in line for line in lines)
    assert all(line.isprintable() and len(line) < 500 for line in lines)
    assert caplog.records


async def test_trouble_that_goes_on_is_logged_once_and_so_is_its_end(receiver, caplog):
    caplog.set_level(logging.INFO)
    way = Way(receiver.url)
    receiver.answers = [500] * 5 + [401] * 5
    way.put()
    await way.ship()
    assert [record.getMessage() for record in caplog.records if record.name == "agent.sinks.delivery.sender"] == [
        "sink siem: retry: 500",
        "sink siem: hold: 401",
        "sink siem: works again after 10 failed tries",
    ]


async def test_the_same_trouble_is_logged_again_when_it_comes_again(receiver, caplog):
    caplog.set_level(logging.INFO)
    way = Way(receiver.url)
    receiver.answers = [500, 200, 500]
    way.put()
    way.put()
    await way.ship()
    assert [record.getMessage() for record in caplog.records if record.name == "agent.sinks.delivery.sender"] == [
        "sink siem: retry: 500",
        "sink siem: works again after 1 failed tries",
    ] * 2


async def test_what_is_refused_is_logged_with_its_reason(receiver, caplog):
    receiver.answers = [
        (400, {}, b"no such field"),
        413,
        (200, {}, orjson.dumps({"accepted": 1, "duplicate": 0, "rejected": [{"line": 0, "reason": "x"}]})),
    ]
    way = Way(receiver.url)
    for many in (4, 1, 2):
        way.put(many)
    await way.ship()
    first, second, third = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert first == "sink siem: gave a batch of 4 events up, counted as lost{rejected}: 400 no such field"
    assert second.startswith("sink siem: gave a batch of 1 events up, counted as lost{too_large}: 413")
    assert third.startswith("sink siem: the receiver rejected 1 of 2 events: 200 ")


async def test_a_receipt_that_comes_in_pieces_is_read_to_its_end(receiver):
    way = Way(receiver.url)
    receipt = orjson.dumps({"accepted": 4, "duplicate": 0, "rejected": [{"line": 0, "reason": "x"}]})

    async def in_pieces(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(receipt[:20])
        await asyncio.sleep(0.05)
        await response.write(receipt[20:])
        await response.write_eof()
        return response

    receiver.answers = [in_pieces]
    way.put(5)
    await way.ship()
    assert way.queue.lost == {"rejected": {7: 1}}


async def test_of_an_answer_without_end_no_more_is_read_than_a_protocol_looks_at(receiver):
    seen = []

    def interpret(status, headers, body, now, batch):
        seen.append(len(body))
        return http.interpret(status, headers, body, now, batch)

    way, sent = Way(receiver.url, interpret=interpret), 0

    async def endless(request):
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)
            sent += 65536

    receiver.answers = [endless]
    way.put()
    way.put()
    await way.ship()
    assert seen == [1 << 20, 0]
    assert sent < 1 << 24
    assert way.queue.delivered == {7: 6}


async def test_a_packed_answer_is_unpacked_and_bounded_all_the_same(receiver):
    seen = []

    def interpret(status, headers, body, now, batch):
        seen.append(body)
        return http.interpret(status, headers, body, now, batch)

    async def bomb(_request):
        packed = web.Response(body=b"x" * (64 << 20))
        packed.enable_compression(web.ContentCoding.gzip)
        return packed

    receiver.answers = [bomb]
    way = Way(receiver.url, interpret=interpret)
    way.put()
    await way.ship()
    assert seen == [b"x" * (1 << 20)]


async def test_cookies_are_neither_kept_nor_sent(receiver):
    receiver.answers = [(200, {"Set-Cookie": "a=b"}, b"")]
    way = Way(receiver.url.replace("127.0.0.1", "localhost"))  # an address would be given none in any case
    way.put()
    way.put()
    await way.ship()
    assert "Cookie" not in receiver.tries[1][1]


async def test_the_environments_proxy_is_not_ours(receiver, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    way = Way(receiver.url)
    way.put()
    await way.ship()
    assert way.queue.delivered == {7: 3}


def test_the_parts_of_a_batch_hold_what_they_say():
    """Of this file's own means: a part that held other events would make the tests above say nothing."""
    way = Way("http://127.0.0.1:1")
    batch = way.put(5)
    assert numbers_of(way.packer.part(batch, (0, 3), "again")) == [0, 3]
    assert [numbers_of(half) for half in way.packer.split(batch)] == [[0, 1], [2, 3, 4]]
