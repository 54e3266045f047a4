"""Takes the pictures of docs/images anew: `.venv/bin/python -m pytest tests/collector/pages/take_pictures.py`.

It is no test, and is run by its path only. The events are made up; the pages are a real collector's in a real browser.
"""

from __future__ import annotations

import math
from itertools import count
from pathlib import Path

import pytest

from tests.collector.conftest import SECOND

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
IMAGES = Path(__file__).parents[3] / "docs/images"
STEPS = 90  # summaries of 10 s each: the page of a pod begins with 15 minutes
# name, namespace, workload, node, forks a second
PODS = (
    ("nightly-report-29384120-xk2lp", "batch", ("CronJob", "nightly-report"), "node3", 74),
    ("checkout-6d9f7b4c55-4tq8v", "shop", ("Deployment", "checkout"), "node2", 36),
    ("cart-59855dd6c8-b7k9d", "shop", ("Deployment", "cart"), "node1", 28),
    ("cart-59855dd6c8-q8x2p", "shop", ("Deployment", "cart"), "node2", 4.1),
    ("cart-59855dd6c8-w2vfs", "shop", ("Deployment", "cart"), "node2", 6.2),
    ("cart-59855dd6c8-hnc27", "shop", ("Deployment", "cart"), "node1", 3.7),
    ("cart-59855dd6c8-zz4lm", "shop", ("Deployment", "cart"), "node3", 5.5),
    ("cart-59855dd6c8-mm9rt", "shop", ("Deployment", "cart"), "node3", 0.9),
    ("ingress-nginx-controller-7d4db76476-l9k2m", "ingress-nginx", ("Deployment", "ingress-nginx-controller"), "node1", 0.6),
    ("redis-0", "data", ("StatefulSet", "redis"), "node1", 0),
)
RUNNER = "runner-7f9c6d5b8-x2k4q"
STREAMS = {f"node{number}": f"0ac846b9-54b9-46db-ad41-e0a5f64de59{number}.9f3c51d2a7e04b6{number}" for number in (1, 2, 3)}


class Scene:
    """A cluster of three nodes in the last 15 minutes."""

    def __init__(self, client, make):
        self.client, self.make = client, make
        self.sequences = {node: count() for node in STREAMS}

    def ago(self, seconds):
        return self.make.now - round(seconds * SECOND)

    def named(self, event, workload):
        event["k8s"]["workload"] = {"kind": workload[0], "name": workload[1]}
        return event

    async def counted(self, pod, namespace, workload, node, cgroup, rates, container="app", sent=0, suppressed=0, threads=0.2):
        """`rates`: forks a second, in each of the steps. `sent` of them come as events; a select leaves the others out."""
        of = {"pod": pod, "namespace": namespace, "node": node, "cgroup": cgroup, "container": container}
        events, total = [], 0
        for step, rate in enumerate(rates):
            forks = round(rate * 10)
            total += forks
            lanes = {"threads": round(total * threads), "suppressed": min(total, suppressed)}
            end = self.ago((STEPS - 1 - step) * 10 + 5)
            event = self.make.summary(step, total, now=forks, end=end, stream=STREAMS[node], **lanes, **of)
            totals = event["totals"]
            totals["filtered"] += totals["emitted"] - sent
            totals["emitted"] = sent
            events.append(self.named(event, workload))
        await self.client.post(*events)

    def fork(self, pod, namespace, workload, node, cgroup, comm, at, entity, parent, pids):
        of = {"pod": pod, "namespace": namespace, "node": node, "cgroup": cgroup}
        event = self.make.fork(next(self.sequences[node]), stream=STREAMS[node], at=at, comm=comm, pid=pids[1], **of)
        event |= {"process_entity_id": f"{entity:016x}", "parent_entity_id": f"{parent:016x}", "parent_pid": pids[0]}
        return self.named(event, workload)

    async def made(self):
        for place, (pod, namespace, workload, node, rate) in enumerate(PODS, 10):
            rates = [
                rate * (1 + 0.3 * math.sin(step / 9 + place) + 0.1 * math.sin(step * 1.7 + place)) for step in range(STEPS)
            ]
            of, sent = (pod, namespace, workload, node, 5000 + place), int(20 + rate / 3) if rate else 0
            await self.counted(*of, rates, sent=sent)
            forks = [self.fork(*of, "sh", self.ago(20 - n / 4), 64 * place + n, place, (900, 901 + n)) for n in range(sent)]
            if forks:
                await self.client.post(*forks)
        await self.runner()
        for node, stream in STREAMS.items():
            sent = next(self.sequences[node])
            await self.client.post(self.make.node(1, heads={0: sent}, delivered=sent, node=node, stream=stream))

    async def runner(self):
        """A pod that is in a storm, with two containers, gaps and a tree of processes."""
        workload, of = ("Deployment", "runner"), {"pod": RUNNER, "namespace": "ci", "node": "node3"}
        stream = STREAMS["node3"]
        rates = [2900 + 60 * math.sin(step) if step > STEPS - 10 else 310 + 80 * math.sin(step / 8) for step in range(STEPS)]
        await self.counted(RUNNER, "ci", workload, "node3", 4791, rates, sent=36, suppressed=27200, threads=0.02)
        await self.counted(
            RUNNER, "ci", workload, "node3", 4792, [700 + 500 * math.sin(step / 14) for step in range(STEPS)], "cache"
        )
        await self.client.post(
            self.named(self.make.gap(1204, 1204, stream=stream, end=self.ago(300), seconds=30, cgroup=4791, **of), workload),
            self.named(
                self.make.storm(
                    1, "stop", start=self.ago(570), end=self.ago(430), processes=24700, stream=stream, cgroup=4791, **of
                ),
                workload,
            ),
            self.named(
                self.make.storm(
                    2, "start", start=self.ago(101), end=self.ago(100), processes=2500, stream=stream, cgroup=4791, **of
                ),
                workload,
            ),
        )
        place, numbers = (RUNNER, "ci", workload, "node3", 4791), count(7)
        tree = []
        for job in range(6):
            shell, pid, at = next(numbers), 6000 + 40 * job, self.ago(580 - 90 * job)
            tree.append(self.fork(*place, "entrypoint.sh", at, shell, 2, (3901, pid)))
            python = next(numbers)
            tree.append(self.fork(*place, "sh", at + SECOND, python, shell, (pid, pid + 1)))
            tree += [
                self.fork(*place, "python3", at + (2 + n) * SECOND, next(numbers), python, (pid + 1, pid + 2 + n))
                for n in range(3 + job % 3)
            ]
        await self.client.post(*tree)


PICTURES = (
    ("pods", "/", 1440, 905, "tr.row"),
    ("pod", f"/pods/ci/{RUNNER}", 1440, 1060, ".band"),
    ("workload", "/workloads/shop/Deployment/cart?cluster=demo", 1440, 700, ".multiple"),
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_take(client, make, browser, scheme):
    await Scene(client, make).made()
    for name, path, width, height, ready in PICTURES:
        async with browser(width, height, scheme) as page:
            await page.goto(client.url + path)
            await page.wait_for_selector(ready, state="attached")
            await page.screenshot(path=IMAGES / f"{name}-{scheme}.png")
        if scheme == "light" and name != "workload":
            async with browser(390, 844, scheme) as page:
                await page.goto(client.url + path)
                await page.wait_for_selector(ready, state="attached")
                await page.screenshot(path=IMAGES / f"{name}-phone.png")
