"""Each event is stored once, in whatever order and however often it is sent, and totals make up for lost ones."""

import asyncio
import itertools
import os
import random
import re
import time

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from collector.model import Filter
from collector.query.pods.find import find_pods
from collector.query.pods.snapshot import read_snapshot
from collector.views.pods.entries import pod_entries
from tests.collector.conftest import lines_of, opened_store

pytestmark = pytest.mark.slow

SECOND = 1_000_000_000  # ns


async def test_a_batch_that_comes_twice_counts_once(client, make):
    batch = [make.fork(n) for n in range(23)] + [make.summary(1, 23), make.node(1, heads={0: 23}), make.gap(1, 4)]
    assert await client.post(*batch) == {"accepted": 26, "duplicate": 0, "rejected": []}
    before = await client.get("/v1/pods/shop/cart-1")
    assert await client.post(*batch) == {"accepted": 0, "duplicate": 26, "rejected": []}
    after = await client.get("/v1/pods/shop/cart-1")
    assert after["delivered"] == 23
    assert {key: after[key] for key in after if key != "history"} == {key: before[key] for key in before if key != "history"}


async def test_a_bad_line_does_not_fail_its_batch(client, make):
    answer = await client.post(make.fork(1), b"{nonsense", make.fork(2), make.fork(2))
    assert (answer["accepted"], answer["duplicate"]) == (2, 1)
    assert [refusal["line"] for refusal in answer["rejected"]] == [1]


async def test_the_same_number_on_another_cpu_or_in_another_stream_is_another_fork(client, make):
    other = make.stream[:-1] + "9"
    answer = await client.post(make.fork(5), make.fork(5, cpu=1), make.fork(5, stream=other))
    assert answer["accepted"] == 3


EXAMPLES = int(os.environ.get("EXAMPLES", "8"))
QUICK = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
SENT = st.lists(
    st.tuples(st.booleans(), st.lists(st.tuples(st.integers(0, 1), st.integers(0, 30)), max_size=25)), min_size=1, max_size=5
)


def test_any_order_and_any_repetition_by_any_collector_store_the_same_forks(make):
    """Two writers that know nothing of each other, as two collectors on one cluster are."""
    with opened_store(writers=2) as (*writers, context):
        worlds = itertools.count()

        @QUICK
        @given(SENT)
        def holds(batches):
            world = f"{next(worlds):016x}"
            stream = make.stream[:-16] + world
            sent, acknowledged = set(), (set(), set())
            for other, batch in batches:
                events = [make.fork(seq, cpu, stream=stream, uid=world) for cpu, seq in batch]
                (stored,) = writers[other].insert([(lines_of(*events), None)], time.time_ns())
                assert stored.accepted >= len(set(batch) - sent)  # what the other one filed it may not know of
                assert stored.accepted <= len(set(batch) - acknowledged[other])
                assert stored.accepted + stored.duplicate == len(batch)
                sent |= set(batch)
                acknowledged[other].update(batch)
            ((kept, rows),) = context.client.query(
                "SELECT uniqExact(cpu, sequence), count() FROM fork FINAL WHERE stream = {stream:String}", {"stream": stream}
            ).result_rows
            assert kept == rows == len(sent)
            whole = read_snapshot(context, *find_pods(context, Filter(pod_uid=world), 10), 0).snapshot
            assert sum(counter_source.stored for counter_source in whole.counter_sources) == len(sent)
            assert sum(parent.forks for parent in whole.parents) == len(sent)
            filed_of = {row.name: row.stored for row in whole.ledger.streams}
            assert filed_of.get(stream, 0) == len(sent)
            question = (
                "SELECT cpu, arraySort(bitmapToArray(groupBitmapMergeState(numbers))) FROM came WHERE stream = {stream:String} "
                "GROUP BY cpu ORDER BY cpu"
            )
            assert context.client.query(question, {"stream": stream}).result_rows == [
                (cpu, sorted(seq for on, seq in sent if on == cpu)) for cpu in sorted({on for on, _ in sent})
            ]

        holds()


async def test_batches_that_arrive_at_once_are_inserted_one_after_the_other(client, make):
    forks = [make.fork(n) for n in range(600)]
    parts = [random.sample(forks, 200) for _ in range(12)] + [forks]
    answers = await asyncio.gather(*(client.post(*part) for part in parts))
    assert sum(answer["accepted"] for answer in answers) == 600
    assert sum(answer["duplicate"] for answer in answers) == 12 * 200
    assert (await client.pods())["cart-1"]["delivered"] == 600


async def test_the_newest_totals_win_however_late_older_ones_arrive(client, make):
    await client.post(make.summary(3, 300, end=make.now), make.summary(1, 100, end=make.now - 20 * SECOND))
    assert (await client.pods())["cart-1"]["processes"] == 300
    await client.post(make.summary(2, 200, end=make.now - 10 * SECOND))
    assert (await client.pods())["cart-1"]["processes"] == 300
    await client.post(make.summary(4, 310, end=make.now))  # ends at the same moment: the number decides
    await client.post(make.summary(2, 250, end=make.now))
    assert (await client.pods())["cart-1"]["processes"] == 310


async def test_a_pod_is_the_sum_of_its_containers_and_program_instances(client, make):
    second_life = make.stream[:-1] + "9"
    await client.post(
        make.summary(9, 100, cgroup=1, container="app", threads=7),
        make.summary(9, 10, cgroup=2, container="proxy"),
        make.summary(1, 5, cgroup=1, container="app", stream=second_life, lost=2),
        make.summary(1, 77, cgroup=3, pod="other"),
    )
    pod = (await client.pods())["cart-1"]
    assert (pod["processes"], pod["threads"], pod["lost"]) == (115, 7, 2)
    assert {one["name"]: one["processes"] for one in pod["containers"]} == {"app": 105, "proxy": 10}


def test_a_pods_totals_are_the_newest_of_each_stream_and_container_whatever_was_lost(make):
    """Agents that were killed, replaced and restarted; summaries that came twice, late, or not at all; a clock that was set."""
    with opened_store(writers=2) as (*writers, context):
        worlds = itertools.count()

        @QUICK
        @given(data=st.data())
        def holds(data):
            world = f"{next(worlds):015x}"
            newest, sent = {}, []
            for stream in range(data.draw(st.integers(1, 3), "streams")):
                name = f"{make.stream[:-16]}{world}{stream}"
                for cgroup in range(1, data.draw(st.integers(1, 2), "containers") + 1):
                    total, end = 0, make.now
                    for number in range(1, data.draw(st.integers(1, 6), "summaries") + 1):
                        total += data.draw(st.integers(0, 50), "forks")
                        end += data.draw(st.sampled_from([10, 10, 3, -3600]), "seconds") * SECOND
                        if data.draw(st.booleans(), "arrives"):
                            attribution_fields = {"stream": name, "cgroup": cgroup, "uid": world}
                            sent.append(make.summary(number, total, end=end, threads=number, now=0, **attribution_fields))
                            newest[stream, cgroup] = total, number
            batches = data.draw(st.permutations(sent + data.draw(st.lists(st.sampled_from(sent)) if sent else st.just([]))))
            for place in range(0, len(batches), 2):
                writers[place // 2 % 2].insert([(lines_of(*batches[place : place + 2]), None)], time.time_ns())
            pods = pod_entries(read_snapshot(context, *find_pods(context, Filter(pod_uid=world), 10), 0).snapshot, make.now)
            assert [(pod["processes"], pod["threads"]) for pod in pods] == (
                [(sum(total for total, _ in newest.values()), sum(number for _, number in newest.values()))] if newest else []
            )

        holds()


async def test_a_pod_resolved_late_has_its_earlier_forks_and_stays_resolved(client, make):
    early = make.unresolved(make.fork(1))
    nameless = make.unresolved(make.fork(2))
    nameless["k8s"]["pod_uid"] = None
    await client.post(early, nameless)
    assert set(await client.pods()) == {None}
    await client.post(make.fork(3), make.summary(1, 3))
    pods = await client.pods()
    assert set(pods) == {"cart-1"}
    assert pods["cart-1"]["delivered"] == 3
    late = make.unresolved(make.fork(4, at=make.now + 60 * SECOND))
    await client.post(late)
    pods = await client.pods()
    assert {name: pod["delivered"] for name, pod in pods.items()} == {"cart-1": 4}
    assert pods["cart-1"]["workload"] == {"kind": "Deployment", "name": "cart"}
    assert [one["name"] for one in pods["cart-1"]["containers"]] == ["app"]


async def test_a_name_with_another_uid_is_another_pod(client, make):
    old, new = make.now - 100 * SECOND, make.now
    await client.post(make.fork(1, at=new, uid="new", cgroup=2), make.fork(2, at=old, uid="old", cgroup=1))
    assert len((await client.get("/v1/pods"))["pods"]) == 2
    pod = await client.get("/v1/pods/shop/cart-1")
    assert pod["pod_uid"] == "new"
    assert [other["pod_uid"] for other in pod["others"]] == ["old"]


async def test_forks_outside_pods_belong_to_their_node(client, make):
    await client.post(make.host(make.fork(1)), make.host(make.fork(2, cgroup=9)), make.host_summary(1, 40), make.fork(3))
    answer = await client.get("/v1/pods")
    assert [pod["delivered"] for pod in answer["pods"]] == [1]
    (host,) = answer["host"]
    assert (host["node"], host["delivered"], host["processes"]) == ("node1", 2, 40)


async def test_the_latest_forks_come_as_they_were_sent_newest_first(client, make):
    forks = [make.fork(n, cgroup=1 + n % 2) for n in range(40)]
    await client.post(*random.sample(forks, 40))
    pod = await client.get("/v1/pods/shop/cart-1?limit=7")
    assert pod["latest"] == forks[:-8:-1]


async def test_expired_forks_are_hidden_and_not_inserted_again(running, make, tmp_path):
    async with running(store=f"chdb://{tmp_path}/db", retention="1s") as client:
        await client.post(make.fork(0, pod="old"), make.gap(1, 5, pod="old"))
        for number in range(1, 1000):
            await client.post(make.fork(number, pod="young", cgroup=2))
            await asyncio.sleep(0.05)
            if (known := set(await client.pods())) == {"young"}:
                break
        assert known == {"young"}
        assert await client.post(make.fork(0, pod="old")) == {"accepted": 0, "duplicate": 1, "rejected": []}
        for _ in range(100):
            (swept,) = re.findall(r"^forklore_collector_swept_forks_total (\S+)", await client.get("/metrics"), re.MULTILINE)
            if float(swept):
                break
            await asyncio.sleep(0.05)
        assert float(swept) >= 1


async def test_each_parent_is_counted_by_its_name(client, make):
    forks = [make.fork(n, comm="sh") for n in range(5)] + [make.fork(9, comm="make"), make.fork(10, comm="java", kind="thread")]
    unknown = make.fork(11) | {"parent_comm": None}
    await client.post(*forks, unknown)
    assert (await client.pods())["cart-1"]["top"] == [
        {"comm": "sh", "forks": 5},
        {"comm": None, "forks": 1},
        {"comm": "make", "forks": 1},
    ]


async def test_a_process_attached_later_is_listed_with_the_pod_and_counted_on_the_host(client, make):
    """`kubectl exec`: the kernel counted the fork in the runtime's cgroup, and only there is it expected."""
    attached = make.fork(1)
    attached["enrichment"] = {"state": "resolved", "by": "attach", "lag_ms": 0}
    await client.post(make.fork(0), attached, make.host(make.fork(2)))
    answer = await client.get("/v1/pods")
    (pod,), (host,) = answer["pods"], answer["host"]
    assert (pod["delivered"], pod["top"]) == (1, [{"comm": "sh", "forks": 1}])
    assert host["delivered"] == 2
    latest = (await client.get(f"/v1/pods/{pod['namespace']}/{pod['pod']}"))["latest"]
    assert len(latest) == 2
