"""What no node can send: times ahead of the clock or before any agent, and counts that no kernel reaches."""

import time

import pytest

from collector.store import newest

SECOND = 1_000_000_000
MOST = 2**53 - 1


def at(ns):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // SECOND)) + f".{ns % SECOND:09d}Z"


def later(event, ns):
    """The event with all its times at `ns`."""
    event["timestamp"] = at(ns)
    if "interval" in event:
        event["interval"] = {"start": at(ns), "end": at(ns)}
    return event


async def test_a_batch_ahead_of_the_clock_is_refused_as_a_whole_with_a_sentence(client, make):
    for event in (make.fork(1), make.summary(1, 9), make.node(1, heads={0: 9}), make.gap(1, 1)):
        answer = await client.post(make.fork(0), later(event, make.now + 400 * SECOND), status=400)
        assert answer["error"].startswith("1 of 2 events are up to ") and "at most 300 s are accepted" in answer["error"]
    assert "demo" not in str(await client.get("/v1/pods"))
    await client.metrics_say('forklore_collector_refused_events_total{why="time"} 4.0')


async def test_a_clock_that_is_a_little_ahead_is_accepted(client, make):
    answer = await client.post(later(make.fork(1), time.time_ns() + 200 * SECOND))
    assert answer == {"accepted": 1, "duplicate": 0, "rejected": []}


async def test_times_before_any_agent_are_refused_line_by_line(client, make):
    answer = await client.post(later(make.summary(1, 1), SECOND), later(make.fork(1), SECOND), make.fork(2))
    assert answer["accepted"] == 1
    names = [refusal["reason"].partition(":")[0] for refusal in answer["rejected"]]
    assert names == ["interval.start", "timestamp"]
    assert all("is before 2020" in refusal["reason"] for refusal in answer["rejected"])
    await client.metrics_say('forklore_collector_refused_events_total{why="time"} 2.0')


@pytest.mark.parametrize("name", ["start_time", "parent_start_time"])
async def test_a_start_ahead_of_the_clock_is_refused(name, client, make):
    answer = await client.post(make.fork(1) | {name: at(make.now + 400 * SECOND)}, status=400)
    assert "ahead of this collector's clock" in answer["error"]


@pytest.mark.parametrize(
    ("make_event", "named"),
    [
        (lambda make: make.fork(2**52), "id: sequence"),
        (lambda make: make.summary(1, MOST, now=1), "totals.processes"),
        (lambda make: make.summary(1, 10**9, now=10**9), "counts.processes"),
        (lambda make: make.node(1, heads={0: MOST}, captured=1), "totals.processes"),
        (lambda make: make.node(1, heads={0: 1}, captured=MOST, queued=0), "ledger.captured"),
        (lambda make: make.node(1, heads={0: 1}, delivered=MOST, queued=0), "ledger.sinks.delivered"),
        (lambda make: make.gap(1, MOST), "count"),
        (lambda make: make.storm(1, "stop", start=make.now - SECOND, end=make.now, processes=10**9), "counts.processes"),
    ],
)
async def test_a_count_that_no_kernel_reaches_is_refused_and_counted(make_event, named, client, make):
    (refusal,) = (await client.post(make_event(make)))["rejected"]
    assert refusal["reason"].startswith(f"{named}: ") and "more than any kernel reaches" in refusal["reason"]
    await client.metrics_say('forklore_collector_refused_events_total{why="count"} 1.0')


async def test_a_made_up_summary_pins_neither_a_pods_count_nor_a_nodes_heads(client, make, monkeypatch):
    """Totals that a kernel could have reached are shown until the node's own come ten minutes later."""
    monkeypatch.setattr(newest, "PERIOD", 1)
    most = 10**15
    await client.post(make.summary(1, most, now=1), make.node(1, heads={0: most}, captured=most))
    assert (await client.pods())["cart-1"]["processes"] == most
    await client.post(make.summary(2, 5, now=5), make.node(2, heads={0: 5}, captured=5, delivered=5, queued=0))
    assert (await client.pods())["cart-1"]["processes"] == 5
    (node,) = (await client.get("/v1/ledger"))["nodes"]
    assert node["given"] == 5
