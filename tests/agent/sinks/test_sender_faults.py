"""A sender before a proxy that breaks things, and a receiver behind it that keeps what it gets: nothing is lost, nothing
changes its place, and what comes twice comes under one name."""

import asyncio
import os
import socket
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.sinks.delivery.connections import Timeouts
from tests.faults import Close, Drip, FaultProxy, Forward, Garbage, Half, Reset, Say, Slow, Stall, TooLarge

from .sending import Receiver, Way, until

pytestmark = pytest.mark.slow

QUICK = Timeouts(connect=5.0, idle=0.3, response=1.0)
GARBAGE = [
    b"\x00\x01\x02",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: minus\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 999999 X\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    b"\x15\x03\x01\x00\x02\x02\x46",
]


def in_order(receiver):
    """Each batch's events in their order, and batches in theirs: what came again came right behind itself."""
    return [number for number, _ in groupby(tries_of(receiver))]


def tries_of(receiver):
    return [tuple(numbers) for _, _, numbers in receiver.tries]


AGAIN = [
    *[Say(status) for status in (408, 425, 429, 500, 502, 503, 504, 401, 403, 404, 405, 407, 415, 301, 302, 307, 308)],
    *[Say(429, {"Retry-After": after}) for after in ("0", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "")],
    Say(503, {"Retry-After": "0"}, b"x" * 100_000),
    Say(503, early=True),
    *[Reset(when) for when in ("asked", "read", "taken")],
    Close(),
    Stall(60.0),
    Stall(0.1, Reset("read")),
    Half(Forward()),
    Half(Say(200)),
    Half(Say(200, {}, b"x" * 1000)),
    Drip(0.2, Say(200, {}, b"x" * 1000)),  # more than a limit allows
    *map(Garbage, GARBAGE),
]


@pytest.mark.parametrize("fault", AGAIN, ids=lambda fault: str(fault)[:60])
@pytest.mark.parametrize("first", [True, False], ids=["new connection", "kept connection"])
async def test_after_any_trouble_the_batch_comes_again_and_nothing_is_lost(receiver, fault, first):
    with FaultProxy(receiver.address) as proxy:
        way = Way(proxy.url("/v1/events"), timeouts=QUICK)
        proxy.play(*([] if first else [Forward()]), fault, fault)
        for _ in range(4):
            way.put(5)
        await way.ship()
    assert way.queue.delivered == {7: 20}
    assert way.queue.lost == {}
    assert in_order(receiver) == [tuple(range(at, at + 5)) for at in (0, 5, 10, 15)]
    # Each try is one that the fault was played to, or one that was let through: none came out of nowhere.
    assert [request.forwarded for request in proxy.requests].count(True) == len(receiver.tries)
    assert len({request.key for request in proxy.requests}) == 4
    unheard = fault in (Reset("taken"), Half(Forward()))
    assert len(receiver.tries) == (6 if unheard else 4)


@pytest.mark.parametrize("fault", [Forward(), Forward(close=True), Drip(0.001), Stall(0.1), Say(200), Say(204)], ids=str)
async def test_what_is_an_answer_is_one_however_it_comes(receiver, fault):
    with FaultProxy(receiver.address) as proxy:
        proxy.usual = fault
        way = Way(proxy.url("/v1/events"), timeouts=QUICK)
        for _ in range(5):
            way.put(2)
        await way.ship()
    assert way.queue.delivered == {7: 10}
    assert (len(proxy.requests), way.sender.retries, way.pauses) == (5, 0, [])


@pytest.mark.parametrize("early", [False, True])
async def test_too_large_is_split_also_when_it_is_said_before_the_body_was_read(receiver, early):
    """`early`: the connection breaks while the body is still being written, and the answer must not drown in that."""
    with FaultProxy(receiver.address) as proxy:
        proxy.usual = TooLarge(1_500_000, early=early)
        way = Way(proxy.url("/v1/events"), compression="none")
        for _ in range(2):
            way.put(8, text="x" * 500_000)
        way.put(1, text="x" * 2_000_000)
        await way.ship()
    assert (way.queue.delivered, way.queue.lost) == ({7: 16}, {"too_large": {7: 1}})
    assert receiver.taken == [*range(16)]
    assert way.sender.responses["413"] >= 7  # 8, 4, 4 events and again, and the single one; more, where the answer did drown


async def test_a_kept_connection_that_turns_out_to_be_closed_is_no_failure(receiver):
    with FaultProxy(receiver.address) as proxy:
        proxy.play(Forward(), Close(), Forward(), Reset("asked"), Forward(), Reset("read"), Forward())
        way = Way(proxy.url("/v1/events"))
        for _ in range(4):
            way.put()
        await way.ship()
        assert proxy.connections == 4
    assert (way.sender.responses, way.pauses, way.sender.retries, way.sender.reconnected) == ({"200": 4}, [], 0, 3)
    assert receiver.taken == [*range(12)]


@pytest.mark.parametrize("fault", [Close(), Reset("read")], ids=str)
async def test_a_receiver_that_breaks_new_connections_too_is_backed_off_from(receiver, fault):
    with FaultProxy(receiver.address) as proxy:
        proxy.play(fault, Forward(), fault, fault)
        way = Way(proxy.url("/v1/events"))
        for _ in range(2):
            way.put()
        await way.ship()
    assert way.sender.responses == {"disconnected": 2, "200": 2}
    assert len(way.pauses) == 2


async def test_one_connection_carries_all_batches(receiver):
    with FaultProxy(receiver.address) as proxy:
        proxy.play(*[Say(503), Forward()] * 10)
        way = Way(proxy.url("/v1/events"))
        for _ in range(20):
            way.put()
        await way.ship()
        assert proxy.connections == 1
    assert receiver.taken == [*range(60)]


async def test_a_receiver_that_is_away_is_waited_for(receiver):
    with FaultProxy(receiver.address) as proxy:
        way = Way(proxy.url("/v1/events"))
        batch = way.put()
        proxy.away()
        async with way.running():
            await until(lambda: way.sender.responses.get("connect", 0) > 20)
            assert (way.queue.waiting, way.queue.delivered) == ([batch], {})
            host, port = proxy.address
            assert way.sender.state == f"retry: {host}:{port} can't be reached: Connection refused"
            proxy.back()
            await until(lambda: not len(way.queue))
    assert receiver.taken == [0, 1, 2]


async def test_a_receiver_that_goes_away_in_the_middle_loses_nothing(receiver):
    with FaultProxy(receiver.address) as proxy:
        way = Way(proxy.url("/v1/events"))
        for _ in range(30):
            way.put()
        async with way.running():
            for many in (5, 15, 25):
                await until(lambda many=many: len(receiver.tries) >= many)
                proxy.away()
                await until(lambda: way.sender.responses.get("connect"))
                way.sender.responses.clear()
                proxy.back()
            await until(lambda: not len(way.queue))
    assert way.queue.delivered == {7: 90}
    # What was on its way when the proxy went may be read by the receiver after the next try of it: the first of each counts.
    assert list(dict.fromkeys(in_order(receiver))) == [(at, at + 1, at + 2) for at in range(0, 90, 3)]


async def test_a_body_that_moves_slowly_is_not_cut_off(receiver):
    """It takes longer than both limits allow for what stands still."""
    timeouts = Timeouts(connect=5.0, idle=0.4, response=0.8)
    with FaultProxy(receiver.address, window=32768) as proxy:
        proxy.play(Slow(1_000_000))
        way = Way(proxy.url("/v1/events"), timeouts=timeouts, compression="none")
        way.put(1, text="x" * 1_500_000)
        await way.ship()
    assert way.sender.responses == {"200": 1}
    assert way.seconds[0] > 1.2
    assert len(receiver.tries) == 1


async def test_a_receiver_that_is_silent_is_given_up_before_one_that_answers_slowly(receiver):
    with FaultProxy(receiver.address) as proxy:
        proxy.play(Stall(60.0), Drip(0.005, Say(200, {}, b"x" * 100)))
        way = Way(proxy.url("/v1/events"), timeouts=Timeouts(connect=5.0, idle=0.3, response=60.0))
        way.put()
        await way.ship()
    assert way.sender.responses == {"timeout": 1, "200": 1}
    assert way.seconds[1] > 0.3


async def test_a_body_that_stands_still_is_cut_off(receiver):
    with FaultProxy(receiver.address, window=4096) as proxy:
        proxy.play(Slow(1))
        way = Way(proxy.url("/v1/events"), timeouts=QUICK, compression="none")
        way.put(1, text="x" * 8_000_000)
        await way.ship()
    assert way.sender.responses == {"timeout": 1, "200": 1}
    assert receiver.taken == [0]


def connected_to(address):
    """This process's own sockets whose other end is there."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # it was closed meanwhile, or is not connected
            if str(descriptor.readlink()).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(descriptor.name))) as one:
                    found += one.getpeername() == address
    return found


async def test_connections_that_were_given_up_are_not_kept_open(receiver):
    """A closed connection stays open until what was written to it is gone, which may be never."""
    with FaultProxy(receiver.address, window=4096) as proxy:
        proxy.usual = Slow(1)
        way = Way(proxy.url("/v1/events"), timeouts=QUICK, compression="none")
        way.put(1, text="x" * 8_000_000)
        async with way.running():
            await until(lambda: way.sender.responses.get("timeout", 0) >= 4)
            assert connected_to(proxy.address) <= 2
        await asyncio.sleep(0)
        await until(lambda: not connected_to(proxy.address))


async def test_an_answer_that_drips_for_ever_is_cut_off_though_it_moves(receiver):
    timeouts = Timeouts(connect=5.0, idle=0.3, response=0.6)
    with FaultProxy(receiver.address) as proxy:
        proxy.play(Drip(0.02, Say(200, {}, b"x" * 10_000)))
        way = Way(proxy.url("/v1/events"), timeouts=timeouts)
        way.put()
        await way.ship()
    assert way.sender.responses == {"timeout": 1, "200": 1}
    assert way.seconds[0] > 0.5  # not by the other limit


async def test_a_connection_that_does_not_come_about_is_given_up():
    """A listener that never accepts, and whose queue is full: the kernel drops what comes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        way = Way(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeouts=Timeouts(connect=0.2))
        way.put()
        async with way.running():
            await until(lambda: way.sender.responses.get("timeout"))
            assert way.sender.state.endswith("can't be reached: connection timed out")
        for one in waiting:
            one.close()


async def test_two_senders_stand_on_their_own(receiver):
    """While one is stalled the other delivers all it is given."""
    other = Receiver()
    await other.start()
    with FaultProxy(receiver.address) as proxy:
        proxy.usual = Stall(60.0)
        stalled, free = Way(proxy.url("/v1/events")), Way(other.url)
        for _ in range(50):
            stalled.put()
            free.put()
        async with stalled.running():
            await until(lambda: proxy.requests)
            await free.ship()
            assert len(proxy.requests) == 1
    await other.stop()
    assert (free.queue.delivered, other.taken) == ({7: 150}, [*range(150)])
    assert (stalled.queue.delivered, len(stalled.queue)) == ({}, 50)


@pytest.mark.parametrize(
    ("url", "state"),
    [
        # Too long to be asked for: the resolver says so at once, on any machine.
        ("http://" + "x." * 130 + "example/", "retry: " + "x." * 130 + "example:80: unknown host name: "),
        ("http://a..b/secret", "hold: a..b:80: url, headers or token are not valid in an HTTP request"),
    ],
)
async def test_a_name_that_can_not_be_found_is_said(url, state):
    way = Way(url)
    way.put()
    async with way.running():
        await until(lambda: way.sender.responses)
    assert way.sender.state.startswith(state[:300])


FAULTS = st.sampled_from([
    Forward(), Forward(), Forward(close=True), Say(500), Say(503, early=True), Say(401), Say(413), Say(302), Reset("asked"),
    Reset("read"), Reset("taken"), Close(), Half(Forward()), Half(Say(200)), Garbage(), Stall(0.02, Reset("taken")),
    TooLarge(100),
])  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    faults=st.lists(FAULTS, max_size=30),
    batches=st.lists(st.lists(st.sampled_from([7, 8, 9]), min_size=1, max_size=6), min_size=1, max_size=6),
    cancelled=st.lists(st.integers(0, 12), max_size=3),
)
def test_no_sequence_of_faults_and_restarts_loses_or_reorders(faults, batches, cancelled):
    """Delivered or too large, each once in the account; and the receiver has what was delivered, the first time in order."""

    async def live():
        receiver = Receiver()
        await receiver.start()
        with FaultProxy(receiver.address) as proxy:
            way = Way(proxy.url("/v1/events"), timeouts=QUICK)
            proxy.play(*faults)
            for cgroups in batches:
                way.put(cgroup=cgroups)
            for requests in cancelled:  # an agent that is stopped and started again
                async with way.running():
                    await until(lambda many=requests: len(proxy.requests) >= many or not len(way.queue))
            await way.ship()
        await receiver.stop()
        return receiver, way

    receiver, way = asyncio.run(live())
    assert set(way.queue.lost) <= {"too_large"}
    assert way.queue.delivered.total() + sum(lost.total() for lost in way.queue.lost.values()) == way.sent
    # A 413 may come for a part of what was taken before it: too large is counted for at most one event each.
    first = list(dict.fromkeys(receiver.taken))
    assert first == sorted(first)
    assert len(first) >= way.queue.delivered.total()
