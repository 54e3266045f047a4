"""The events of a node for two stores, and all that can be read of them."""

import asyncio

from collector.model import Filter, ForkQuery, Span
from collector.query import StoreReader
from tests.collector.conftest import SECOND

ALWAYS = Span(0, 2**63 - 1)
EVIL = "'; DROP TABLE fork; --\\\"{x:String}\t\n\u202e%s%2F+&="


def life(make, minute):
    """Two pods and a host of two streams; what hosts and containers can call themselves among it."""
    second, odd = make.stream[:-1] + "9", {"labels": {"app": "web", EVIL: EVIL}, "workload": {"kind": EVIL, "name": "web"}}
    others = [
        make.fork(n, cpu=1, pod="web-0", namespace="team", cgroup=9, comm=EVIL, container=EVIL, at=minute + n * SECOND)
        for n in range(40)
    ]
    for event in others:
        event["k8s"] |= odd
    forks = [make.fork(n, at=minute + n * SECOND, stream=stream) for stream in (make.stream, second) for n in range(90)]
    for number, event in enumerate(forks):
        event |= {
            "process_entity_id": f"{number + 9:016x}",
            "parent_entity_id": f"{number // 3 + 8:016x}",
            "comm": f"c{number % 7}",
        }
        event["parent_comm"] = f"c{number // 3 % 7}"
    return [
        [*forks, *others, *(make.host(make.fork(n, cpu=2, kind="thread")) for n in range(7))],
        [
            make.summary(n, 10 * n, now=10, end=minute + n * 10 * SECOND, threads=n, suppressed=3)
            for n in range(1, 13)
            if n != 5
        ],
        [make.summary(1, 4, cgroup=9, pod="web-0", namespace="team", end=minute + SECOND), make.host_summary(1, 7)],
        [
            make.node(1, heads={0: 90, 1: 44, 2: 7}, lost={"journal_full": 3}, ring=1),
            make.node(1, heads={0: 95}, stream=second),
        ],
        [make.gap(3, 3, "journal_full", sink="collector"), make.node_gap(2, 2)],
        [make.storm(n, "stop", start=minute, end=minute + n * SECOND, processes=9, stream=second) for n in (1, 2)],
    ]


async def answers(store, minute):
    reader = StoreReader(store)
    pods = await reader.pods(10)
    ids, span = sorted(pod.id for pod in pods.pods), Span(minute, minute + 300 * SECOND)
    labels = (("app", "web"), (EVIL, EVIL))
    first = await reader.search(ForkQuery(Filter(), ALWAYS), 50)
    await asyncio.sleep(store.visible_after)
    news, since = [], 0
    while page := await reader.received_since(Filter(), since, 100):
        some, since = page
        if not some:
            break
        news += some
    return {
        "pods": pods,
        "filtered": [await reader.pods(10, terms) for terms in (Filter(text="CART"), Filter(labels=labels), Filter(text=EVIL))],
        "workload": [await reader.workload("demo", "team", kind, "web", 10) for kind in (EVIL, "Deployment")],
        "pod": [
            await reader.pod("shop", "cart-1", 50),
            await reader.pod("team", "web-0", 50),
            await reader.pod(EVIL, EVIL, 50),
        ],
        "host": await reader.host("demo", "node1", 50),
        "timeline": [await reader.timeline(pod, span, step * SECOND) for pod in ids for step in (10, 60)],
        "pairs": [await reader.pairs(pod, ALWAYS, 30) for pod in ids],
        "lineage": [await reader.lineage(pod, ALWAYS, 200) for pod in ids],
        "search": first + await reader.search(ForkQuery(Filter(), ALWAYS), 500, first[-1].place),
        "searched": [
            await reader.search(ForkQuery(Filter(), ALWAYS, **terms), 500)
            for terms in ({"comm": EVIL}, {"kind": "thread"}, {"pid": 7012}, {"entity": f"{20:016x}"})
        ],
        "ledger": await reader.ledger(),
        "news": sorted(news, key=lambda fork: fork.place),
    }


def without_clock(answer):
    """Without when it came, which is another moment in each store."""
    if isinstance(answer, tuple | list):
        fields = dict(zip(answer._fields, answer, strict=True)) if hasattr(answer, "_fields") else dict(enumerate(answer))
        return {key: without_clock(value) for key, value in fields.items() if key != "received" or (value or 0) < 10**18}
    return answer
