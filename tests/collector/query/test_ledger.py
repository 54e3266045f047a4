"""The ledger: every number of every stream, what is missing of it, and why."""

import asyncio
import random
import time

import pytest

from collector.query.ledger.ledger import read_ledger
from tests.collector.conftest import lines_of, opened_store

SECOND = 1_000_000_000


async def the_node(client):
    (node,) = (await client.get("/v1/ledger"))["nodes"]
    return node


async def the_stream(client):
    (stream,) = (await the_node(client))["streams"]
    return stream


def holes(stream):
    return [(hole["cpu"], hole["first"], hole["last"], hole["reason"]) for hole in stream["holes"]]


async def test_every_hole_is_listed_with_its_cpu_its_range_and_its_reason(client, make):
    heads = {0: 10, 1: 3, 2: 2}
    await client.post(
        *(make.fork(n) for n in (0, 1, 2, 5, 6, 9)), make.fork(0, cpu=1), make.node(1, heads=heads, delivered=7, ring=8)
    )
    stream = await the_stream(client)
    assert (stream["state"], stream["given"], stream["received"], stream["missing"]) == ("missing, explained", 15, 7, 8)
    assert stream["explained"] == {"ring_full": 8}
    assert stream["cpus"] == {
        "0": {"given": 10, "received": 6, "missing": 4},
        "1": {"given": 3, "received": 1, "missing": 2},
        "2": {"given": 2, "received": 0, "missing": 2},
    }
    assert holes(stream) == [(0, 3, 4, "ring_full"), (0, 7, 8, "ring_full"), (1, 1, 2, "ring_full"), (2, 0, 1, "ring_full")]
    assert [hole["count"] for hole in stream["holes"]] == [2, 2, 2, 2]


async def test_nothing_is_missing_after_late_forks_arrive(client, make):
    await client.post(*(make.fork(n) for n in (0, 1, 4)), make.node(1, heads={0: 5}, delivered=3, queued=2))
    stream = await the_stream(client)
    assert (stream["state"], stream["on_its_way"], holes(stream)) == ("on its way", 2, [(0, 2, 3, "on its way")])
    await client.post(make.fork(2), make.fork(3), make.fork(5), make.fork(6))
    stream = await the_stream(client)
    assert (stream["state"], stream["received"], stream["since"], stream["holes"]) == ("complete", 5, 2, [])


async def test_a_hole_without_a_gap_is_unexplained(client, make):
    await client.post(make.fork(0), make.fork(2), make.node(1, heads={0: 3}, delivered=2, queued=0))
    stream = await the_stream(client)
    assert (stream["state"], stream["unexplained"], holes(stream)) == ("missing, unexplained", 1, [(0, 1, 1, "unexplained")])


async def test_a_later_number_than_any_heartbeat_knows_cannot_be_missing(client, make):
    await client.post(make.node(1, heads={0: 2}, delivered=2), make.fork(0), make.fork(1), make.fork(9), make.fork(3, cpu=5))
    stream = await the_stream(client)
    assert (stream["state"], stream["since"]) == ("complete", 2)
    assert stream["cpus"]["5"] == {"given": 0, "received": 0, "missing": 0}


async def test_the_list_of_holes_is_bounded_and_what_it_leaves_out_is_counted(client, make):
    await client.post(*(make.fork(n) for n in range(0, 2400, 2)), make.node(1, heads={0: 2400}, delivered=1200, ring=1200))
    stream = await the_stream(client)
    assert (stream["missing"], len(stream["holes"]), stream["unlisted"]) == (1200, 1000, 200)
    assert holes(stream)[-1] == (0, 1999, 1999, "ring_full")


async def test_heartbeats_may_come_in_any_order_and_twice(client, make):
    beats = [make.node(n, heads={0: n * 10, 1: n}, delivered=n * 11, end=make.now + n * SECOND) for n in range(1, 8)]
    beats = random.sample(beats * 2, 14)
    await client.post(*(make.fork(n) for n in range(70)), *(make.fork(n, cpu=1) for n in range(7)))
    for beat in beats:
        await client.post(beat)
    stream = await the_stream(client)
    assert (stream["state"], stream["given"], stream["received"]) == ("complete", 77, 77)
    assert (stream["reported"]["captured"], stream["as_of"]) == (
        77,
        make.node(7, heads={}, end=make.now + 7 * SECOND)["timestamp"],
    )


async def test_a_clock_that_was_set_back_does_not_hide_the_newest_heartbeat(client, make):
    attribution_fields = {"pod": "cart-1"}
    await client.post(make.node(1, heads={0: 5}, delivered=5), make.summary(1, 5, **attribution_fields))
    back = make.now - 3600 * SECOND
    await client.post(
        make.node(2, heads={0: 9}, delivered=5, queued=4, end=back), make.summary(2, 9, end=back, **attribution_fields)
    )
    assert (await the_stream(client))["given"] == 9
    assert (await client.pods())["cart-1"]["processes"] == 9


async def test_each_stream_has_its_own_account_and_the_node_their_sum(client, make):
    second = make.stream[:-1] + "9"
    await client.post(*(make.fork(n) for n in range(10)), make.node(1, heads={0: 10}, delivered=8, queued=2))
    await client.post(*(make.fork(n, stream=second) for n in range(4)))
    await client.post(
        make.node(1, heads={0: 5}, delivered=4, stream=second, end=make.now + 20 * SECOND, lost={"journal_full": 1})
    )
    # The last word of the old stream comes late, from the agent that followed.
    late = make.node(2, heads={0: 12}, delivered=10, queued=0, ring=2, end=make.now + 5 * SECOND)
    await client.post(late)
    node = await the_node(client)
    assert [(stream["stream"], stream["received"], stream["given"], stream["explained"]) for stream in node["streams"]] == [
        (second, 4, 5, {"journal_full": 1}),
        (make.stream, 10, 12, {"ring_full": 2}),
    ]
    assert (node["state"], node["received"], node["given"]) == ("missing, explained", 14, 17)
    (entry,) = (await client.get("/v1/pods"))["nodes"]
    assert entry["stream"] == second
    assert entry["account"] == {key: node[key] for key in entry["account"]}


async def test_a_stream_without_a_heartbeat_is_listed_and_has_no_verdict(client, make):
    await client.post(make.fork(0), make.fork(7))
    stream = await the_stream(client)
    assert (stream["state"], stream["since"], stream["as_of"], stream["holes"]) == ("not summed up yet", 2, None, [])


async def test_a_renamed_node_keeps_its_stream(client, make):
    await client.post(make.fork(0), make.node(1, heads={0: 1}, delivered=1))
    renamed = make.node(2, heads={0: 1}, delivered=1, end=make.now + SECOND)
    renamed["k8s"]["cluster"] = "prod"
    await client.post(renamed)
    node = await the_node(client)
    assert (node["cluster"], node["state"]) == ("prod", "complete")
    assert [entry["account"]["state"] for entry in (await client.get("/v1/pods"))["nodes"]] == ["complete"]


TWO = {"siem": ("journal_full", 3), "lake": ("rejected", 5)}


async def with_two_sinks(client, make, **headers):
    sinks = {name: make.sink(delivered=2, lost={reason: lost}, queued=8 - lost) for name, (reason, lost) in TWO.items()}
    gaps = [make.gap(lost, lost, reason, sink=name) for name, (reason, lost) in TWO.items()]
    await client.post(make.fork(0), make.fork(9), make.node(1, heads={0: 10}, sinks=sinks), *gaps, **headers)
    return await the_stream(client)


@pytest.mark.parametrize(("name", "on_its_way"), [("siem", 5), ("lake", 3)])
async def test_only_gaps_of_this_collectors_sink_explain_holes_here(client, make, name, on_its_way):
    reason, lost = TWO[name]
    stream = await with_two_sinks(client, make, Forklore_Sink=name)
    assert (stream["sink"], stream["explained"], stream["on_its_way"]) == (name, {reason: lost}, on_its_way)
    (other,) = TWO.keys() - {name}
    pod = (await client.pods())["cart-1"]
    assert pod["missing"] == {reason: lost}
    assert pod["missing_elsewhere"] == {other: {TWO[other][0]: TWO[other][1]}}


@pytest.mark.parametrize("wrong", ["", "no such name", "x" * 33, "\u00fc", "'; DROP TABLE stream; --", "siem,lake"])
async def test_an_invalid_sink_name_is_ignored(client, make, wrong):
    stream = await with_two_sinks(client, make, Forklore_Sink=wrong)
    assert (stream["sink"], stream["state"], stream["explained"]) == (None, "missing, unexplained", {})
    assert (await client.pods())["cart-1"]["missing"] == {}


async def test_an_agents_only_sink_is_this_collector_until_a_request_names_another(client, make):
    await client.post(make.node(1, heads={0: 1}))
    assert (await the_stream(client))["sink"] == "collector"
    await client.post(make.fork(0), Forklore_Sink="siem")
    assert (await the_stream(client))["sink"] == "siem"
    await client.post(make.node(2, heads={0: 1}, end=make.now + 1))
    assert (await the_stream(client))["sink"] == "siem"


async def test_forks_delivered_to_an_earlier_store_are_not_missing(client, make):
    """And what was acknowledged after that, and is not here, is."""
    await client.post(make.fork(1000), make.fork(1001), make.node(1, heads={0: 1002}, delivered=1002))
    stream = await the_stream(client)
    assert (stream["state"], stream["explained"]) == ("complete", {"delivered_before": 1000})
    await client.post(make.fork(1003), make.node(2, heads={0: 1004}, delivered=1004, end=make.now + 1))
    stream = await the_stream(client)
    assert (stream["state"], stream["explained"], stream["unexplained"]) == (
        "missing, unexplained",
        {"delivered_before": 1000},
        1,
    )


async def test_what_was_delivered_to_an_earlier_store_is_known_from_the_first_request(client, make):
    """The first heartbeat here was written when 300 forks were queued, and they came to this store before it."""
    await client.post(*(make.fork(number) for number in range(1000, 1300)), Forklore_Delivered="1000")
    await client.post(make.node(1, heads={0: 1300}, delivered=1000, queued=300), Forklore_Delivered="1300")
    await client.post(make.node(2, heads={0: 1300}, delivered=1300, end=make.now + 1), Forklore_Delivered="1300")
    stream = await the_stream(client)
    assert (stream["state"], stream["explained"], stream["on_its_way"]) == ("complete", {"delivered_before": 1000}, 0)


async def test_what_was_delivered_to_this_store_was_not_delivered_before(client, make):
    await client.post(make.fork(0), make.fork(1), Forklore_Delivered="0")
    await client.post(make.fork(3), make.node(1, heads={0: 4}, delivered=3, queued=0), Forklore_Delivered="3")
    stream = await the_stream(client)
    assert (stream["state"], stream["explained"], stream["unexplained"]) == ("missing, unexplained", {}, 1)


@pytest.mark.parametrize("wrong", ["", "-1", "1e3", "9" * 16, "\u0661", "1, 2"])
async def test_an_invalid_number_of_delivered_forks_is_ignored(client, make, wrong):
    await client.post(make.fork(0), make.node(1, heads={0: 2}, delivered=1, queued=0), Forklore_Delivered=wrong)
    assert (await the_stream(client))["unexplained"] == 1


@pytest.mark.parametrize("begin", ["sink", "store"])
async def test_a_pod_does_not_wait_for_what_came_before_its_streams_account_began(client, make, begin):
    """The kernel's totals of the pod have it: 1,000 before, and 2 of the 3 after that are here."""
    sink = make.sink(delivered=2, queued=1) | {"filtered": {"before_sink": 1000 if begin == "sink" else 0}}
    sink["delivered"] += 0 if begin == "sink" else 1000
    beat = make.node(1, heads={0: 1003}, sinks={"collector": sink})
    delivered = "0" if begin == "sink" else "1000"
    await client.post(make.fork(1000), make.fork(1001), make.summary(1, 1003), beat, Forklore_Delivered=delivered)
    stream, pod = await the_stream(client), (await client.pods())["cart-1"]
    assert (stream["state"], stream["on_its_way"], pod["awaited"]) == ("on its way", 1, 1)


async def test_a_repeated_gap_counts_once_and_the_next_gap_makes_up_for_a_lost_one(client, make):
    first, lost, third = (make.gap(by_now, 10, "journal_full", sink="collector") for by_now in (10, 20, 30))
    await client.post(make.node(1, heads={0: 0}), first, first)
    assert (await client.pods())["cart-1"]["missing"] == {"journal_full": 10}
    await client.post(third, first)
    assert (await client.pods())["cart-1"]["missing"] == {"journal_full": 30}
    await client.post(lost, third)
    assert (await client.pods())["cart-1"]["missing"] == {"journal_full": 30}
    assert (await the_stream(client))["declared"] == {"journal_full": 30}


async def test_gaps_of_many_cgroups_of_one_counter_source_are_added_up(client, make):
    """Each of the host's cgroups has a count of its own in its gaps' ids."""
    gaps = [make.host(make.gap(n, n, "journal_full", sink="collector", cgroup=n)) | {"cgroup": None} for n in (3, 5, 7)]
    await client.post(make.host_summary(1, 50), make.node(1, heads={0: 0}), *gaps)
    assert (await client.get("/v1/pods"))["host"][0]["missing"] == {"journal_full": 15}


async def test_a_ring_gap_and_the_lost_forks_of_a_summary_count_once(client, make):
    await client.post(make.gap(214, 214), make.summary(1, 541, lost=214), make.gap(5, 5, cgroup=9, container="proxy"))
    pod = (await client.pods())["cart-1"]
    assert (pod["missing"], pod["awaited"]) == ({"ring_full": 219}, 327)


async def test_forks_that_the_journal_lost_are_not_awaited(client, make):
    forks = [make.fork(n) for n in range(90)]
    await client.post(
        *forks, make.summary(1, 100), make.node(1, heads={0: 100}, delivered=90, queued=4, lost={"journal_full": 6})
    )
    assert (await client.pods())["cart-1"]["awaited"] == 10
    await client.post(make.gap(6, 6, "journal_full", sink="collector"))
    pod = (await client.pods())["cart-1"]
    assert (pod["missing"], pod["awaited"], pod["containers"][0]["awaited"]) == ({"journal_full": 6}, 4, 4)


@pytest.mark.parametrize("reason", ["ring_full", "journal_full"])
async def test_a_gap_of_a_whole_pod_is_the_pods(client, make, reason):
    gap = make.gap(12, 12, reason, sink="collector") | {"cgroup": None, "container": None}
    await client.post(make.fork(1), make.node(1, heads={0: 2}), gap)
    assert (await client.pods())["cart-1"]["missing"] == {reason: 12}
    (gap,) = (await client.get("/v1/pods/shop/cart-1"))["gaps"]
    assert (gap["count"], gap["sink"], gap["here"], gap["numbered"]) == (12, "collector", True, True)


@pytest.mark.parametrize("cgroup", [None, {"id": 77, "path": "/system.slice/sshd.service"}])
async def test_a_gap_of_the_host_belongs_to_no_pod(client, make, cgroup):
    gap = make.host(make.gap(12, 12)) | {"cgroup": cgroup}
    await client.post(make.fork(1), make.host_summary(1, 5), make.node(1, heads={0: 1}, delivered=1), gap)
    answer = await client.get("/v1/pods")
    assert (answer["host"][0]["missing"], answer["pods"][0]["missing"]) == ({"ring_full": 12}, {})
    assert answer["pods"][0]["unknown_share"] == {}
    assert "12 forks missing: ring full" in await client.get("/nodes/node1")


@pytest.mark.parametrize("state", ["host", "unresolved"])
async def test_forks_without_a_pods_count_belong_to_the_node(client, make, state):
    gap = make.node_gap(700, 700, "restart") | {"enrichment": {"state": state, "by": None, "lag_ms": 0}}
    orphaned = make.node_gap(55, 55, "orphaned", stream=make.stream[:-1] + "9")
    far = make.fork(5, node="node2", pod="far", cgroup=9, stream=make.stream[:-1] + "7")
    await client.post(make.fork(0), make.summary(1, 1), make.host_summary(1, 5), far)
    await client.post(make.node(1, heads={0: 1}, delivered=1), gap, orphaned)
    answer = await client.get("/v1/pods")
    pods = {pod["pod"]: pod for pod in answer["pods"]}
    assert (pods["cart-1"]["missing"], pods["cart-1"]["unknown_share"]) == ({}, {"restart": 700, "orphaned": 55})
    assert pods["far"]["unknown_share"] == {}
    assert [host["missing"] for host in answer["host"]] == [{}]
    (node,) = answer["nodes"]
    assert node["account"]["never_numbered"] == {"restart": 700, "orphaned": 55}
    assert node["account"]["unexplained"] == 0
    assert {(gap["reason"], gap["count"], gap["numbered"]) for gap in node["gaps"]} == {
        ("restart", 700, False),
        ("orphaned", 55, False),
    }
    page = await client.get("/v1/pods/shop/cart-1")
    assert sorted(gap["reason"] for gap in page["node_gaps"]) == ["orphaned", "restart"]
    ledger = {node["node"]: node for node in (await client.get("/v1/ledger"))["nodes"]}
    assert [len(stream["gaps"]) for stream in ledger["node1"]["streams"]] == [1, 1]


async def test_numbered_forks_of_unknown_pods_explain_the_holes_of_the_node(client, make):
    corrupt = make.node_gap(4, 4, "journal_corrupt", sink="collector")
    await client.post(
        *(make.fork(n) for n in range(6)), make.summary(1, 10), make.node(1, heads={0: 10}, delivered=6, queued=0), corrupt
    )
    assert (await the_stream(client))["explained"] == {"journal_corrupt": 4}
    pod = (await client.pods())["cart-1"]
    assert (pod["missing"], pod["unknown_share"], pod["awaited"]) == ({}, {"journal_corrupt": 4}, 4)


async def test_a_hole_stays_explained_when_the_gap_itself_is_too_old_to_be_kept(running, make, tmp_path):
    async with running(store=f"chdb://{tmp_path}/db", retention="2s") as client:
        await client.post(make.fork(0), make.gap(4, 4, "unreadable"), make.gap(3, 3, "unreadable", pod="gone", cgroup=7))
        for number in range(1, 1000):
            await client.post(make.fork(number), make.node(number, heads={0: number + 8}, queued=0, end=make.now + number))
            await asyncio.sleep(0.05)
            nodes = (await client.get("/v1/ledger"))["nodes"]  # none where these reads take longer than the retention
            pods = await client.pods()  # none, either
            page = await client.get("/v1/pods/shop/cart-1") if pods else None
            if nodes and page and not page["gaps"] and set(pods) == {"cart-1"}:
                break
        assert (page["gaps"], page["missing"]) == ([], {"unreadable": 4})
        ((stream,),) = (node["streams"] for node in nodes)
        assert (stream["declared"], stream["explained"]) == ({"unreadable": 7}, {"unreadable": 7})


async def test_the_greatest_numbers_are_accepted(client, make):
    most = 10**15
    beat = make.node(1, heads={0: 1}) | {"heads": {str(cpu): most for cpu in range(2000)}}
    gaps = [make.gap(10**18 - 1, most, "journal_full", cgroup=cgroup, sink="collector") for cgroup in range(2000)]
    gaps += [make.node_gap(n, most, "restart") for n in range(2000)]
    assert (await client.post(beat, *gaps, make.fork(1) | {"id": f"{make.stream}.0.{most}"}))["accepted"] == 4002
    stream = await the_stream(client)
    assert (stream["state"], stream["given"]) == ("missing, explained", 2000 * most)
    assert len(stream["holes"]) == 1000
    assert stream["never_numbered"] == {"restart": most}
    assert (await client.pods())["cart-1"]["missing"] == {"journal_full": 2000 * most}
    assert "cart-1" in await client.get("/")


async def test_hostile_text_in_a_gap_and_a_heartbeat_is_escaped(client, make):
    evil = "<b>\u202e'\"--"
    sinks = {evil: make.sink(delivered=0, queued=1, lost={evil: 2})}
    own = f"{make.stream}.gap.-.x"
    answer = await client.post(
        make.node(1, heads={0: 9}, sinks=sinks) | {"agent": {"version": evil, "kernel": evil}},
        make.node_gap(5, 5, evil, sink=evil) | {"id": f"{own}.0.5"},
        make.gap(5, 5, evil, sink=evil, pod=evil) | {"id": f"{own}.4821.5"},
        make.gap(5, 5, "x", sink=evil) | {"id": f"{own}.\u202e.5"},
    )
    assert (answer["accepted"], len(answer["rejected"])) == (3, 1)
    stream = await the_stream(client)
    assert (stream["sink"], stream["explained"]) == (evil, {evil: 9})
    page = await client.get("/ledger")
    assert evil not in page and "<b>\\u202e" not in page and "&lt;b&gt;\\u202e" in page


def test_the_first_holes_are_found_without_reading_all_of_them(make):
    """A full ring leaves a hole beside every fork that it took: 100,000 of them must not be read for the first ten."""
    with opened_store() as (writer, context):
        rows = range(0, 1_600_000, 16)
        writer.insert([(lines_of(make.node(1, heads={0: 1_600_000, 1: 9})), None)], time.time_ns())
        context.client.insert(
            "came_in",
            [[make.stream, 0, "", n, n, time.time_ns()] for n in rows],
            column_names=["stream", "cpu", "lane", "first", "last", "seen"],
        )
        fetched = []

        class Client:
            def query(self, statement, parameters):
                answer = context.client.query(statement, parameters=parameters)
                fetched.extend(answer.result_rows)
                return answer

        found = read_ledger(context._replace(client=Client()), 10, by_cpu=False)
        numbers = [row[-1] for row in fetched if isinstance(row[-1], list)]
        assert 0 < sum(map(len, numbers)) < 100_000 / 4
        assert (found.streams[0].given, found.streams[0].received) == (1_600_009, 100_000)
        assert [hole.first for hole in found.holes] == [*range(1, 160, 16)]
        assert len(read_ledger(context, 40_000, by_cpu=False).holes) == 40_000
