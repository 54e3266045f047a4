"""Storms: start and stop make one storm in any order and number; until its stop the pod is in a storm."""

import asyncio
import html
import itertools
import random

import pytest

SECOND = 1_000_000_000


@pytest.fixture
def start_and_stop(make):
    """(start, stop) of one storm that has just ended."""
    begun, ended = make.now - 30 * SECOND, make.now - SECOND
    return (
        make.storm(1, "start", start=begun, end=begun + SECOND, processes=2500),
        make.storm(1, "stop", start=begun, end=ended, processes=61240),
    )


async def the_pod(client):
    """The answer for the pod, which contains its entry of the list."""
    listed, alone = (await client.pods())["cart-1"], await client.get("/v1/pods/shop/cart-1")
    assert {key: alone[key] for key in listed} == listed
    return alone


@pytest.mark.parametrize(
    "order", [order for n in (2, 3) for order in itertools.product((0, 1), repeat=n) if set(order) == {0, 1}]
)
async def test_start_and_stop_make_one_storm_in_any_order(client, make, start_and_stop, order):
    answers = [(await client.post(start_and_stop[which]))["accepted"] for which in order]
    assert sum(answers) == 2
    pod = await the_pod(client)
    (storm,) = pod["storms"]
    assert (storm["state"], storm["interval"]) == ("over", start_and_stop[1]["interval"])
    assert storm["counts"] == start_and_stop[1]["counts"]
    assert (storm["limit"], storm["hold_s"]) == (2000, 5)
    assert (pod["storm"], pod["storms_in_all"]) == (None, 1)


async def test_a_pod_is_in_a_storm_from_its_start_to_its_stop(client, make, start_and_stop):
    await client.post(make.summary(1, 100), start_and_stop[0])
    pod = await the_pod(client)
    assert pod["storm"]["state"] == "now"
    assert pod["storm"]["interval"] == {"start": start_and_stop[0]["interval"]["start"], "end": None}
    assert pod["storm"]["counts"]["suppressed"] == 2500
    assert pod["processes"] == 100  # the storm's own counts are of the same forks as the summaries'
    await client.post(start_and_stop[1])
    assert (await the_pod(client))["storm"] is None


@pytest.mark.parametrize(
    ("sent", "shown", "text"),
    [
        (None, "limit", "the limit is 2,000 a second"),
        ("limit", "limit", "the limit is 2,000 a second"),
        ("ring", "ring", "more than its share of the kernel's ring, which was over half full"),
        ("uniqueness", "uniqueness", "more than 2,000 new parent tasks and cgroups a second"),
    ],
)
async def test_a_storm_has_its_reason_in_the_api_and_on_its_pods_page(client, make, sent, shown, text):
    begun = make.now - 30 * SECOND
    for phase, end in (("start", begun + SECOND), ("stop", make.now - SECOND)):
        await client.post(make.storm(1, phase, start=begun, end=end, processes=2500, reason=sent))
    pod = await the_pod(client)
    assert [storm["reason"] for storm in pod["storms"]] == [shown]
    assert text in html.unescape(await client.get("/pods/shop/cart-1"))


async def test_a_storm_of_an_unknown_reason_is_refused(client, make, start_and_stop):
    receipt = await client.post({**start_and_stop[0], "reason": "weather"})
    assert (receipt["accepted"], len(receipt["rejected"])) == (0, 1)


async def test_a_storm_adds_no_container_to_its_pod(client, make, start_and_stop):
    await client.post(make.summary(1, 100), *start_and_stop)
    assert [one["name"] for one in (await the_pod(client))["containers"]] == ["app"]


async def test_a_batch_of_many_storms_in_any_order_is_the_same_list(client, make):
    storms = []
    for number in range(1, 8):
        begun = make.now - 1000 * SECOND + number * 100 * SECOND
        storms += [
            make.storm(number, "start", start=begun, end=begun + SECOND, processes=number),
            make.storm(number, "stop", start=begun, end=begun + 50 * SECOND, processes=number * 1000),
        ]
    sent = random.sample(storms * 2, len(storms) * 2)
    answer = await client.post(*sent)
    assert (answer["accepted"], answer["duplicate"]) == (14, 14)
    pod = await the_pod(client)
    assert [storm["storm"] for storm in pod["storms"]] == [7, 6, 5, 4, 3, 2, 1]
    assert [storm["counts"]["processes"] for storm in pod["storms"]] == [n * 1000 for n in (7, 6, 5, 4, 3, 2, 1)]
    assert pod["storms_in_all"] == 7
    assert [storm["storm"] for storm in (await client.get("/v1/pods/shop/cart-1?limit=2"))["storms"]] == [7, 6]


async def test_the_same_number_in_another_pod_or_stream_is_another_storm(client, make, start_and_stop):
    other = make.storm(1, "start", start=make.now, end=make.now, processes=1, pod="web-1", cgroup=99)
    later = make.storm(1, "stop", start=make.now, end=make.now, processes=1, stream=make.stream[:-1] + "9")
    assert (await client.post(*start_and_stop, other, later))["accepted"] == 4
    pods = await client.pods()
    assert {name: pod["storms_in_all"] for name, pod in pods.items()} == {"cart-1": 2, "web-1": 1}


async def test_a_storm_without_a_stop_ends_with_the_next_storm(client, make, start_and_stop):
    again = make.storm(2, "start", start=make.now, end=make.now + 1, processes=3000)
    await client.post(start_and_stop[0], again)
    pod = await the_pod(client)
    assert [storm["state"] for storm in pod["storms"]] == ["now", "end not told"]
    assert pod["storms"][1]["interval"]["end"] is None


async def test_a_storm_ends_without_a_report_when_another_stream_follows(client, make, start_and_stop):
    await client.post(start_and_stop[0], make.node(1, heads={0: 1}))
    assert (await the_pod(client))["storm"] is not None
    await client.post(make.node(1, heads={0: 1}, stream=make.stream[:-1] + "9", end=make.now + 1))
    pod = await the_pod(client)
    assert (pod["storm"], pod["storms"][0]["state"]) == (None, "end not told")
    await client.post(start_and_stop[1])  # reported late, by the agent that followed
    assert (await the_pod(client))["storms"][0]["state"] == "over"


async def test_a_storm_of_a_new_stream_goes_on_before_its_first_heartbeat(client, make):
    await client.post(make.node(1, heads={0: 1}, end=make.now - 5 * SECOND))
    await client.post(
        make.storm(1, "start", start=make.now, end=make.now, processes=1, stream=make.stream[:-1] + "9"), make.fork(1)
    )
    assert (await the_pod(client))["storm"]["state"] == "now"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_storm_of_a_pod_without_a_name_gets_the_name_later(client, start_and_stop, order):
    start = start_and_stop[0]
    start["k8s"].update(namespace=None, pod=None, pod_uid="hash-in-the-path", labels=None, workload=None)
    start["enrichment"] = {"state": "unresolved", "by": "cgroup", "lag_ms": 0}
    first, second = order
    await client.post(start_and_stop[first])
    assert [pod["pod_uid"] for pod in (await client.get("/v1/pods"))["pods"]] == [["hash-in-the-path", "uid-of-cart-1"][first]]
    await client.post(start_and_stop[second])
    assert [pod["pod_uid"] for pod in (await client.get("/v1/pods"))["pods"]] == ["uid-of-cart-1"]
    assert (await the_pod(client))["storms"][0]["state"] == "over"


async def test_the_highest_numbers_and_hostile_names_are_kept(client, make):
    evil = "</script>\u202e"
    since_2020 = 1_577_923_200 * 10**9
    storm = make.storm(
        2**63 - 2, "stop", start=since_2020, end=make.now, processes=10**15, limit=2**63 - 2, pod=evil, namespace=evil
    )
    storm["hold_s"] = 2**63 - 2
    assert (await client.post(storm))["accepted"] == 1
    (pod,) = (await client.get("/v1/pods"))["pods"]
    assert pod["pod"] == evil
    page = await client.get(f"/pod/{pod['key']}")
    assert evil not in page and "1,000,000,000,000,000 forks" in page


async def test_expired_storms_are_deleted(running, make, tmp_path, start_and_stop):
    async with running(store=f"chdb://{tmp_path}/db", retention="1s") as client:
        await client.post(*start_and_stop)
        for _ in range(100):
            await asyncio.sleep(0.05)
            if not await client.pods():
                break
        assert await client.pods() == {}
