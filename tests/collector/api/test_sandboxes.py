"""Pods under Kata or gVisor: their agent reports that it cannot see their forks, so their counts are unknown."""

import pytest


def not_observable(make, pod="vm-1", **attribution):
    """As an agent sends it: with the cgroup of the pod, without container and count."""
    gap = make.gap(0, None, "not_observable", pod=pod, cgroup=900, **attribution)
    gap.update(container=None, missing="sched_process_fork")
    return gap


async def test_it_is_listed_and_its_counts_are_unknown_and_not_zero(running, make):
    async with running() as client:
        assert (await client.post(not_observable(make), make.fork(1)))["rejected"] == []
        pods = await client.pods()
        vm, cart = pods["vm-1"], pods["cart-1"]
        assert (vm["observable"], cart["observable"]) == (False, True)
        for count in (
            "processes",
            "threads",
            "emitted",
            "filtered",
            "suppressed",
            "lost",
            "entered",
            "rate",
            "delivered",
            "since",
        ):
            assert vm[count] is None
        assert cart["processes"] == 0 and cart["delivered"] == 1
        assert vm["workload"] == {"kind": "Deployment", "name": "cart"}


async def test_the_counts_of_its_sandbox_are_not_shown_as_its_own(running, make):
    async with running() as client:
        of = {"pod": "vm-1", "cgroup": 901, "container": None}
        await client.post(not_observable(make), make.fork(1, **of), make.summary(1, 40, now=40, **of))
        vm = await client.get("/v1/pods/shop/vm-1")
        assert vm["observable"] is False and vm["processes"] is None and vm["delivered"] is None and vm["top"] == []
        assert vm["containers"] and all(
            container[count] is None for container in vm["containers"] for count in ("processes", "delivered", "rate")
        )
        (gap,) = [gap for gap in vm["gaps"] if gap["reason"] == "not_observable"]
        assert gap["count"] in (0, None)


async def test_its_tree_and_timeline_are_not_observable_either(running, make):
    async with running() as client:
        await client.post(not_observable(make), make.summary(1, 40, now=40, pod="vm-1", cgroup=901), make.summary(1, 1))
        assert (await client.get("/v1/pods/shop/vm-1/tree"))["observable"] is False
        timeline = await client.get("/v1/pods/shop/vm-1/timeline")
        assert timeline["observable"] is False and set(timeline["totals"]["processes"]) == {None}
        assert (await client.get("/v1/pods/shop/cart-1/timeline"))["observable"] is True


async def test_a_gap_that_is_sent_every_hour_is_one_gap(running, make):
    async with running() as client:
        assert (await client.post(not_observable(make)))["accepted"] == 1
        assert (await client.post(not_observable(make)))["duplicate"] == 1


@pytest.mark.parametrize(("count", "reason"), [(None, "ring_full"), (-1, "not_observable"), ("0", "not_observable")])
async def test_for_no_other_reason_may_the_count_be_unknown(running, make, count, reason):
    async with running() as client:
        gap = not_observable(make)
        gap.update(count=count, reason=reason)
        (refused,) = (await client.post(gap))["rejected"]
        assert refused["reason"].startswith("count: ")
