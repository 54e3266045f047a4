"""What a sender does with a batch for each response: at least once, in order, each fork counted exactly once."""

import asyncio
import gc
import logging
from datetime import UTC, datetime

import orjson
import pytest
from aiohttp import web

from agent.model import NO_CGROUP
from agent.sinks.delivery.responses import Outcome, Result, http

from .sender_scene import SenderScene, numbers_of, until


async def test_an_accepted_batch_is_counted_and_leaves_the_queue(receiver):
    scene = SenderScene(receiver.url)
    scene.put(3, cgroup=7)
    scene.put(2, cgroup=8)
    await scene.ship()
    assert scene.queue.delivered == {7: 3, 8: 2}
    assert scene.queue.lost == {}
    assert receiver.accepted == [*range(5)]


async def test_agent_events_are_sent_and_do_not_count_as_forks(receiver):
    scene = SenderScene(receiver.url)
    scene.put(cgroup=[7, NO_CGROUP, NO_CGROUP])
    await scene.ship()
    assert (receiver.accepted, scene.queue.delivered) == ([0, 1, 2], {7: 1})


async def test_batches_arrive_in_their_order(receiver):
    scene = SenderScene(receiver.url)
    ids = [scene.put().id for _ in range(5)]
    await scene.ship()
    assert [one for one, _, _ in receiver.tries] == ids


async def test_a_try_leaves_no_reference_cycles(receiver):
    """The garbage collector runs rarely, since the agent makes few objects that only it can free."""
    scene = SenderScene(receiver.url)
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            scene.put()
            await scene.ship()
        timeouts = [one for one in gc.get_objects() if isinstance(one, asyncio.Timeout)]
    finally:
        gc.enable()
    assert len(timeouts) < 5


async def test_a_request_has_the_headers_of_its_batch(receiver):
    scene = SenderScene(receiver.url, headers={"X-Tenant": "shop"})
    batch = scene.put()
    await scene.ship()
    ((key, headers, _),) = receiver.tries
    assert key == batch.id
    assert headers["Content-Type"] == "application/x-ndjson"
    assert headers["Content-Encoding"] == "gzip"
    assert headers["X-Tenant"] == "shop"
    assert headers["Content-Length"] == str(len(batch.body))
    assert headers["User-Agent"].startswith("forklore/")
    assert "Authorization" not in headers


async def test_each_request_says_how_much_of_its_stream_was_delivered_before(receiver):
    scene = SenderScene(receiver.url)
    for many in (3, 2, 1):
        scene.put(many)
    await scene.ship()
    assert [headers["Forklore-Delivered"] for _, headers, _ in receiver.tries] == ["0", "3", "5"]


async def test_a_failed_try_is_repeated_byte_for_byte_with_the_same_id(receiver):
    scene, bodies = SenderScene(receiver.url, compression="none"), []

    async def keep(request):
        bodies.append(await request.read())
        return web.Response(status=500 if len(bodies) < 3 else 200)

    receiver.usual = keep
    batch = scene.put()
    await scene.ship()
    assert bodies == [batch.body] * 3
    assert [one for one, _, _ in receiver.tries] == [batch.id] * 3


async def test_a_too_large_batch_is_split_until_it_is_accepted(receiver):
    scene = SenderScene(receiver.url)

    async def at_most_two(_request):
        numbers = receiver.tries[-1][2]
        if len(numbers) > 2:
            return web.Response(status=413)
        receiver.accepted += numbers
        return web.Response(status=200)

    receiver.usual = at_most_two
    scene.put(9)
    scene.put(1)
    await scene.ship()
    assert receiver.accepted == [*range(10)]
    assert (scene.queue.delivered, scene.queue.lost) == ({7: 10}, {})
    assert len({key for key, _, _ in receiver.tries}) == len(receiver.tries)


async def test_a_single_too_large_event_is_counted_as_lost(receiver):
    scene = SenderScene(receiver.url)
    receiver.answers = [413]
    scene.put(1)
    scene.put(1)
    await scene.ship()
    assert scene.queue.lost == {"too_large": {7: 1}}
    assert (scene.queue.delivered, receiver.accepted) == ({7: 1}, [1])


@pytest.mark.parametrize("status", [400, 422])
async def test_a_rejected_batch_does_not_delay_the_next(receiver, status):
    scene = SenderScene(receiver.url)
    receiver.answers = [status]
    scene.put(cgroup=[7, 7, 8, NO_CGROUP])
    scene.put(2)
    await scene.ship()
    assert scene.queue.lost == {"rejected": {7: 2, 8: 1}}
    assert scene.queue.delivered == {7: 2}


async def test_what_is_rejected_is_held_while_a_test_event_is_rejected_too(receiver):
    scene = SenderScene(receiver.url)
    receiver.answers, receiver.to_test_events = [400], 400
    scene.put(5)
    scene.put(2)
    async with scene.running():
        await until(lambda: receiver.test_events >= 3)
        assert [numbers for _, _, numbers in receiver.tries] == [[0, 1, 2, 3, 4]]
        receiver.to_test_events = 200
        await scene.queue.empty()
    assert (scene.queue.delivered, scene.queue.lost) == ({7: 7}, {})
    assert {*scene.pauses} == {(15.0, 30.0)}
    assert [numbers for _, _, numbers in receiver.tries] == [[0, 1, 2, 3, 4]] * 2 + [[5, 6]]


async def test_the_state_of_a_wrong_setting_names_the_cure(receiver):
    scene = SenderScene(receiver.url)
    receiver.usual, receiver.to_test_events = (400, {}, b"Client sent an HTTP request to an HTTPS server.\n"), 400
    scene.put(5)
    async with scene.running():
        await until(lambda: scene.sender.state.startswith("hold"))
    assert scene.sender.state == (
        "hold: 400 Client sent an HTTP request to an HTTPS server.: should the url be https://?;"
        " a test event is rejected, too: a setting or the receiver is wrong"
    )


async def test_while_a_test_event_fails_for_a_while_nothing_is_discarded(receiver):
    scene = SenderScene(receiver.url)
    receiver.answers, receiver.to_test_events = [400], 503
    scene.put(2)
    async with scene.running():
        await until(lambda: receiver.test_events >= 2)
        receiver.to_test_events = 200
        await scene.queue.empty()
    assert (scene.queue.delivered, scene.queue.lost) == ({7: 2}, {})
    assert scene.pauses[:2] == [(0, 1.0), (0, 2.0)]


async def test_one_test_event_stands_for_all_that_is_rejected_within_seconds(receiver):
    scene = SenderScene(receiver.url)
    receiver.usual = 422
    for _ in range(20):
        scene.put(1)
    await scene.ship()
    assert (receiver.test_events, scene.queue.lost) == (1, {"rejected": {7: 20}})


async def test_a_batch_of_rejected_events_is_held_while_a_test_event_is_rejected_too(receiver):
    everything = Outcome(Result.ACCEPTED, "200", rejected_count=3)
    scene = SenderScene(receiver.url, interpret=Outcomes(everything))
    receiver.to_test_events = 400
    scene.put(3)
    async with scene.running():
        await until(lambda: receiver.test_events >= 2)
        receiver.to_test_events = 200
        await scene.queue.empty()
    assert (scene.queue.delivered, scene.queue.lost, {*scene.pauses}) == ({7: 3}, {}, {(15.0, 30.0)})


async def test_a_receiver_that_finds_everything_too_large_gets_few_tries_and_loses_nothing(receiver, caplog):
    scene = SenderScene(receiver.url)
    receiver.usual = receiver.to_test_events = 413
    scene.put(1000)
    async with scene.running():
        await until(lambda: receiver.test_events >= 3)
        tries = len(receiver.tries)
        receiver.usual = receiver.to_test_events = 200
        await until(lambda: not len(scene.queue))
    assert tries <= 15
    assert (scene.queue.delivered, scene.queue.lost) == ({7: 1000}, {})
    assert len(caplog.records) <= 4


async def test_splitting_ends_when_part_after_part_is_too_large(receiver, caplog):
    scene = SenderScene(receiver.url)
    receiver.usual = 413
    scene.put(1000)
    await scene.ship()
    assert scene.queue.lost == {"too_large": {7: 1000}}
    assert len(receiver.tries) < 150
    assert len(caplog.records) <= 4


async def test_rejected_events_are_lost_and_the_others_delivered(receiver):
    scene = SenderScene(receiver.url)
    receipt = {"accepted": 3, "duplicate": 0, "rejected": [{"line": 1, "reason": "x"}, {"line": 4, "reason": "y"}]}
    receiver.answers = [(200, {}, orjson.dumps(receipt))]
    scene.put(cgroup=[7, 7, 7, 8, 8])
    await scene.ship()
    assert scene.queue.delivered == {7: 2, 8: 1}
    assert scene.queue.lost == {"rejected": {7: 1, 8: 1}}


class Outcomes:
    """Returns the given outcomes, one after the other, then ACCEPTED. `calls`: its arguments."""

    def __init__(self, *answers):
        self.answers, self.calls = list(answers), []

    def __call__(self, status, headers, body, now, batch):
        if batch.stream == "test":
            return Outcome(Result.ACCEPTED if status == 200 else Result.REJECTED, f"{status}")
        self.calls.append((status, batch, now))
        return self.answers.pop(0) if self.answers else Outcome(Result.ACCEPTED, "200")


async def test_each_response_is_interpreted_with_its_batch(receiver):
    outcomes = Outcomes()
    scene = SenderScene(receiver.url, interpret=outcomes)
    receiver.answers = [207]
    batch = scene.put()
    await scene.ship()
    ((status, about, now),) = outcomes.calls
    assert (status, about) == (207, batch)
    assert abs((datetime.now(UTC) - now).total_seconds()) < 60


async def test_retried_items_replace_their_batch_before_the_next_one(receiver):
    scene = SenderScene(
        receiver.url, interpret=Outcomes(Outcome(Result.ACCEPTED, "busy", rejected_items=(3,), retry_items=(0, 2)))
    )
    whole = scene.put(cgroup=[7, 8, 9, 8, 7])
    scene.put(1)
    await scene.ship()
    assert [numbers for _, _, numbers in receiver.tries] == [[0, 1, 2, 3, 4], [0, 2], [5]]
    assert len({key for key, _, _ in receiver.tries} | {whole.id}) == 3
    assert scene.queue.delivered == {7: 3, 8: 1, 9: 1}
    assert scene.queue.lost == {"rejected": {8: 1}}


async def test_the_pause_before_retried_items_grows_with_each_try(receiver):
    rounds = [Outcome(Result.ACCEPTED, "busy", retry_items=tuple(range(left))) for left in range(7, 0, -1)]
    scene = SenderScene(receiver.url, interpret=Outcomes(*rounds))
    scene.put(8)
    await scene.ship()
    assert [len(numbers) for _, _, numbers in receiver.tries] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert scene.pauses == [(0, 1.0), (0, 2.0), (0, 4.0), (0, 8.0), (0, 16.0), (0, 30.0), (0, 30.0)]
    assert scene.queue.delivered == {7: 8}
    assert max(len(key) for key, _, _ in receiver.tries) < 128


async def test_a_batch_without_an_accepted_item_keeps_its_id(receiver):
    scene = SenderScene(receiver.url, interpret=Outcomes(Outcome(Result.ACCEPTED, "busy", retry_items=(0, 1, 2))))
    batch = scene.put(3)
    await scene.ship()
    assert [key for key, _, _ in receiver.tries] == [batch.id] * 2
    assert scene.queue.completed == 1


@pytest.mark.parametrize(
    ("cgroups", "fields", "delivered", "lost"),
    [
        # Of one cgroup it does not matter which.
        ([7, 7, 7], {"rejected_count": 2}, {7: 1}, {7: 2}),
        # With several cgroups it is unknown which were delivered: the sums are right, under NO_CGROUP.
        ([7, 8, 8], {"rejected_count": 2}, {NO_CGROUP: 1}, {NO_CGROUP: 2}),
        # All forks: of their own cgroups.
        ([7, 8, 8], {"rejected_count": 3}, {}, {7: 1, 8: 2}),
        ([7, 8, 8], {"rejected_count": 99}, {}, {7: 1, 8: 2}),
        # A count beside indices: of the remaining items.
        ([7, 8, 8, 9], {"rejected_count": 1, "rejected_items": (3,)}, {NO_CGROUP: 2}, {NO_CGROUP: 1, 9: 1}),
        ([7, 7, 8], {"rejected_count": 1, "rejected_items": (2,)}, {7: 1}, {7: 1, 8: 1}),
        ([7, 7, 7], {"rejected_count": 1, "rejected_items": (2,)}, {7: 1}, {7: 2}),
        # Forks are taken to be rejected before agent events.
        ([7, NO_CGROUP, NO_CGROUP], {"rejected_count": 1}, {}, {7: 1}),
        ([NO_CGROUP, NO_CGROUP], {"rejected_count": 1}, {}, None),
        # The rejected indices include agent events.
        ([7, NO_CGROUP, 8, NO_CGROUP], {"rejected_items": (0, 1)}, {8: 1}, {7: 1}),
        # Indices outside of the batch, or twice.
        ([7, 8], {"rejected_items": (2, -1, 10**9, 1, 1), "retry_items": (5,)}, {7: 1}, {8: 1}),
        ([7, 8], {"rejected_items": (0,), "retry_items": (0,)}, {8: 1}, {7: 1}),
        ([7, 8], {"rejected_items": (0, 1)}, {}, {7: 1, 8: 1}),
        ([7, 8], {"rejected_count": -5}, {7: 1, 8: 1}, None),
    ],
)
async def test_the_account_balances_for_every_outcome(receiver, cgroups, fields, delivered, lost):
    scene = SenderScene(receiver.url, interpret=Outcomes(Outcome(Result.ACCEPTED, "200", **fields)))
    scene.put(cgroup=cgroups)
    await scene.ship()
    assert scene.queue.delivered == delivered
    assert scene.queue.lost == ({"rejected": lost} if lost else {})
    assert len(receiver.tries) == 1


async def test_a_pause_after_an_accepted_batch_is_kept(receiver):
    scene = SenderScene(receiver.url, interpret=Outcomes(Outcome(Result.ACCEPTED, "nearly full", pause_s=0.3)))
    scene.put()
    scene.put()
    start = asyncio.get_running_loop().time()
    await scene.ship()
    assert asyncio.get_running_loop().time() - start >= 0.3
    assert scene.pauses == []


async def test_the_pauses_grow_to_a_limit_and_start_again_after_a_success(receiver):
    scene = SenderScene(receiver.url)
    receiver.answers = [503] * 20 + [200, 503]
    scene.put()
    scene.put()
    await scene.ship()
    highs = [high for _, high in scene.pauses]
    assert highs[:20] == sorted(highs[:20])
    assert (highs[0], highs[19], {low for low, _ in scene.pauses}) == (1.0, 30.0, {0})
    assert highs[20] == highs[0]


async def test_a_receivers_retry_after_is_the_shortest_pause(receiver):
    scene = SenderScene(receiver.url)
    receiver.answers = [(429, {"Retry-After": "1"}, b""), (503, {"Retry-After": "0"}, b"")]
    scene.put()
    start = asyncio.get_running_loop().time()
    await scene.ship()
    assert asyncio.get_running_loop().time() - start >= 1
    assert scene.pauses == [(0, 1), (0, 1)]


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 415, 301, 308])
async def test_a_wrong_setting_holds_the_batch_and_loses_nothing(receiver, status):
    scene = SenderScene(receiver.url)
    receiver.answers = [status] * 3
    scene.put()
    await scene.ship()
    assert scene.pauses == [(15.0, 30.0)] * 3
    assert (scene.queue.delivered, scene.queue.lost) == ({7: 3}, {})


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirection_is_not_followed_with_the_token(receiver, tmp_path, status):
    (tmp_path / "token").write_text("secret")
    scene = SenderScene(receiver.url, token_file=tmp_path / "token")
    receiver.answers = [(status, {"Location": receiver.url + "?elsewhere"}, b"")]
    receiver.usual = 500
    scene.put()
    async with scene.running():
        await until(lambda: "500" in scene.sender.responses)
    assert scene.sender.responses[str(status)] == 1
    assert scene.queue.delivered == {}


async def test_a_batch_dropped_during_its_try_is_counted_once(receiver):
    scene = SenderScene(receiver.url)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_request):
        reached.set()
        await go_on.wait()
        return web.Response(status=200)

    receiver.answers = [slow]
    scene.put(3)
    async with scene.running():
        await reached.wait()
        scene.put(4)
        scene.queue.drop()
        go_on.set()
        await until(lambda: not len(scene.queue))
    assert scene.queue.lost == {"journal_full": {7: 3}}
    assert scene.queue.delivered == {7: 4}


@pytest.mark.parametrize("moment", ["requested", "responding", "pausing"])
async def test_a_cancelled_sender_leaves_the_queue_as_it_was(receiver, moment):
    scene = SenderScene(receiver.url)
    reached = asyncio.Event()

    async def hang(request):
        if moment == "responding":
            response = web.StreamResponse(headers={"Content-Length": "10"})
            await response.prepare(request)
            await response.write(b"12345")
        reached.set()
        await asyncio.sleep(60)

    receiver.answers = [(429, {"Retry-After": "60"}, b"")] if moment == "pausing" else [hang]
    batches = [scene.put(), scene.put()]
    async with scene.running():
        await (until(lambda: scene.sender.responses) if moment == "pausing" else reached.wait())
        await asyncio.sleep(0.02)
    assert scene.queue.waiting == batches
    assert (scene.queue.completed, scene.queue.delivered, scene.queue.lost) == (0, {}, {})
    await SenderScene.ship(scene)
    assert receiver.accepted == [*range(6)]


async def test_responses_tries_and_bytes_are_counted(receiver):
    scene = SenderScene(receiver.url)
    receiver.answers = [500, 500, (429, {"Retry-After": "0"}, b""), 200, 401]
    first, second = scene.put(), scene.put(5)
    await scene.ship()
    sender = scene.sender
    assert sender.responses == {"500": 2, "429": 1, "200": 2, "401": 1}
    assert (sender.tries, sender.retries) == (6, 4)
    assert sender.bytes_sent == 4 * len(first.body) + 2 * len(second.body)
    assert sender.last_accepted is not None
    assert len(scene.seconds) == 6
    assert all(0 < seconds < 20 for seconds in scene.seconds)
    assert sender.durations.cumulative()[-1] == 6


async def test_the_duration_of_a_try_includes_the_receivers_time(receiver):
    scene = SenderScene(receiver.url)

    async def slow(_request):
        await asyncio.sleep(0.2)
        return web.Response()

    receiver.answers = [slow]
    scene.put()
    await scene.ship()
    assert scene.seconds[0] >= 0.2


async def test_the_state_is_the_last_response(receiver):
    scene = SenderScene(receiver.url)
    receiver.usual = (401, {}, b"who are you?")
    scene.put()
    async with scene.running():
        await until(lambda: scene.sender.state == "hold: 401 who are you?")
        receiver.usual = 200
        await until(lambda: scene.sender.state == "accepted: 200")
    assert scene.sender.last_accepted is not None


HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\nFeb 30 node1 sshd: root logged in\u202eevil\x00\x85\u2028\ud7ff".encode()


@pytest.mark.parametrize("status", [200, 400, 401, 413, 500])
async def test_a_receivers_text_is_escaped_in_log_and_state(receiver, caplog, status):
    caplog.set_level(logging.INFO)
    # As if a protocol passed the text on unescaped.
    results = {200: Result.ACCEPTED, 400: Result.REJECTED, 401: Result.HOLD, 413: Result.SPLIT, 500: Result.RETRY}
    outcomes = Outcomes(
        Outcome(results[status], HOSTILE.decode() + "x" * 100_000, rejected_items=(0,) if status == 200 else ())
    )
    scene = SenderScene(receiver.url, interpret=outcomes)
    scene.put(1)
    states = []
    async with scene.running():
        await until(lambda: scene.sender.state != "nothing sent yet" and not states.append(scene.sender.state))
        await until(lambda: not len(scene.queue))
    lines = [*states, *(record.getMessage() for record in caplog.records)]
    assert any("owned" in line for line in lines)
    assert all(line.isprintable() and len(line) < 500 for line in lines)
    assert caplog.records


async def test_a_lasting_failure_is_logged_once_and_so_is_its_end(receiver, caplog):
    caplog.set_level(logging.INFO)
    scene = SenderScene(receiver.url)
    receiver.answers = [500] * 5 + [401] * 5
    scene.put()
    await scene.ship()
    assert [record.getMessage() for record in caplog.records if record.name == "agent.sinks.delivery.sender"] == [
        "sink siem: retry: 500",
        "sink siem: hold: 401",
        "sink siem: works again after 10 failed tries",
    ]


async def test_the_same_failure_is_logged_again_after_a_success(receiver, caplog):
    caplog.set_level(logging.INFO)
    scene = SenderScene(receiver.url)
    receiver.answers = [500, 200, 500]
    scene.put()
    scene.put()
    await scene.ship()
    assert [record.getMessage() for record in caplog.records if record.name == "agent.sinks.delivery.sender"] == [
        "sink siem: retry: 500",
        "sink siem: works again after 1 failed tries",
    ] * 2


async def test_rejected_events_are_logged_with_the_reason(receiver, caplog):
    receiver.answers = [
        (400, {}, b"no such field"),
        413,
        (200, {}, orjson.dumps({"accepted": 1, "duplicate": 0, "rejected": [{"line": 0, "reason": "x"}]})),
    ]
    scene = SenderScene(receiver.url)
    for many in (4, 1, 2):
        scene.put(many)
    await scene.ship()
    first, second, third = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert first == "sink siem: discarded a batch of 4 events, counted as lost{rejected}: 400 no such field"
    assert second.startswith("sink siem: discarded a batch of 1 events, counted as lost{too_large}: 413")
    assert third.startswith("sink siem: the receiver rejected 1 of 2 events: 200 ")


async def test_a_receipt_in_pieces_is_read_to_its_end(receiver):
    scene = SenderScene(receiver.url)
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
    scene.put(5)
    await scene.ship()
    assert scene.queue.lost == {"rejected": {7: 1}}


async def test_an_endless_response_is_read_up_to_a_limit(receiver):
    seen = []

    def interpret(status, headers, body, now, batch):
        seen.append(len(body))
        return http.interpret(status, headers, body, now, batch)

    scene, sent = SenderScene(receiver.url, interpret=interpret), 0

    async def endless(request):
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)
            sent += 65536

    receiver.answers = [endless]
    scene.put()
    scene.put()
    await scene.ship()
    assert seen == [1 << 20, 0]
    assert sent < 1 << 24
    assert scene.queue.delivered == {7: 6}


async def test_a_compressed_response_is_decompressed_up_to_the_limit(receiver):
    seen = []

    def interpret(status, headers, body, now, batch):
        seen.append(body)
        return http.interpret(status, headers, body, now, batch)

    async def bomb(_request):
        packed = web.Response(body=b"x" * (64 << 20))
        packed.enable_compression(web.ContentCoding.gzip)
        return packed

    receiver.answers = [bomb]
    scene = SenderScene(receiver.url, interpret=interpret)
    scene.put()
    await scene.ship()
    assert seen == [b"x" * (1 << 20)]


async def test_cookies_are_neither_kept_nor_sent(receiver):
    receiver.answers = [(200, {"Set-Cookie": "a=b"}, b"")]
    scene = SenderScene(receiver.url.replace("127.0.0.1", "localhost"))  # cookies are not kept for addresses anyway
    scene.put()
    scene.put()
    await scene.ship()
    assert "Cookie" not in receiver.tries[1][1]


async def test_a_proxy_in_the_environment_is_ignored(receiver, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    scene = SenderScene(receiver.url)
    scene.put()
    await scene.ship()
    assert scene.queue.delivered == {7: 3}


def test_the_parts_of_a_batch_have_the_right_items():
    """Checks the means of this file: with other events in a part, the tests above would show nothing."""
    scene = SenderScene("http://127.0.0.1:1")
    batch = scene.put(5)
    assert numbers_of(scene.packer.part(batch, (0, 3), "again")) == [0, 3]
    assert [numbers_of(half) for half in scene.packer.split(batch)] == [[0, 1], [2, 3, 4]]
