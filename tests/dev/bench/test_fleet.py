"""What many agents ask of API servers: the real PodWatch, in virtual time, against the servers of
dev.bench.api_server.servers.
"""

import asyncio
import random
from itertools import pairwise

import pytest

from agent.attribution.pods import Pods
from agent.attribution.pods import watch as pod_watch_module
from agent.attribution.pods.watch import PodWatch
from dev.bench.api_server import burst, virtual_time
from dev.bench.api_server.fleet import EVERY_SECOND, Scenario, cut, most, run_scenario, stop_all, stop_one
from dev.bench.api_server.servers import LIST_SEATS, QUEUE, SEATS, Answer, ApiServers, Costs, pod_watch_uses
from tests.silenced import silenced

pytestmark = pytest.mark.slow

AGENTS = 300


@pytest.fixture(autouse=True)
def same_random_numbers():
    random.seed(23)
    with silenced(pod_watch_module.__name__):
        yield


def run_agents(**scene):
    return virtual_time.run(run_scenario(Scenario("", **scene), AGENTS, 3, 1000))


def test_hours_pass_at_once_and_in_their_order():
    async def wait(seconds, woken):
        await asyncio.sleep(seconds)
        woken.append(asyncio.get_running_loop().time())

    async def both():
        woken = []
        await asyncio.gather(wait(7200, woken), wait(3600.5, woken))
        return woken

    assert virtual_time.run(both()) == pytest.approx([3600.5, 7200])


def test_waiting_for_something_that_never_comes_is_an_error():
    with pytest.raises(RuntimeError, match="never happen"):
        virtual_time.run(asyncio.Event().wait())


def test_each_agent_that_starts_lists_once_and_watches_once():
    outcome = run_agents(spread=3)
    assert outcome.kinds == {"list": AGENTS, "watch": AGENTS}
    assert max(outcome.waited) < 0.1


def test_a_rollout_makes_no_more_requests_a_second_than_it_replaces_pods():
    outcome = run_agents(spread=AGENTS / 10)
    assert outcome.most_in_a_second <= 2 * 11  # a list and a watch each
    assert outcome.most_bytes_in_a_second <= 11_000


def test_streams_that_break_together_are_renewed_at_different_times_without_a_list():
    outcome = run_agents(act=cut)
    assert outcome.kinds == {"watch": AGENTS}
    assert outcome.most_in_a_second < AGENTS * 0.65
    assert 1 < outcome.all_watching_s < 2.3
    at_once = run_agents(act=cut, timing=(("_REJOIN_S", 0.0),))
    assert at_once.most_in_a_second == AGENTS


def test_streams_that_end_at_their_timeout_are_renewed_at_once():
    async def observe():
        api = ApiServers(1, Costs(1000))
        with pod_watch_uses(api):
            task = asyncio.create_task(PodWatch(Pods(), "node1", None).run())
            await asyncio.sleep(4 * 2 * pod_watch_module._WATCH_S)
            task.cancel()
        return [one.at for one in api.seen if one.kind == "watch"], [one for one in api.seen if one.kind != "watch"]

    begun, others = virtual_time.run(observe())
    lengths = [after - before for before, after in pairwise(begun)]
    assert len(lengths) >= 4
    assert all(abs(length - round(length)) < 0.2 for length in lengths), "whole seconds, and no pause between"
    assert [one.kind for one in others] == ["list"]


def test_watches_that_began_together_do_not_end_together():
    async def observe():
        api = ApiServers(3, Costs(1000))
        with pod_watch_uses(api):
            tasks = [asyncio.create_task(PodWatch(Pods(), f"{number}", None).run()) for number in range(AGENTS)]
            await asyncio.sleep(2.1 * pod_watch_module._WATCH_S)
            for task in tasks:
                task.cancel()
        return [one for one in api.seen if one.at > 60 and one.kind == "watch"]

    renewed = virtual_time.run(observe())
    assert len(renewed) >= AGENTS
    assert most(renewed, lambda _one: 1) < AGENTS / 30


def test_a_server_that_stops_ends_only_its_own_streams():
    outcome = run_agents(act=stop_one)
    assert outcome.kinds["list"] == 0
    assert AGENTS / 4 < outcome.kinds["watch"] < AGENTS / 2


def test_after_an_outage_each_agent_has_listed_once_within_the_longest_pause():
    outcome = run_agents(act=stop_all, away=60)
    assert outcome.kinds == {"watch (410)": AGENTS, "list": AGENTS, "watch": AGENTS}
    assert outcome.all_watching_s < pod_watch_module._BACKOFF.longest_s + 1.5
    assert outcome.most_in_a_second < 3 * AGENTS / 10


def test_lists_that_are_expired_at_once_are_repeated_with_growing_pauses():
    class Forgetful(ApiServers):
        async def pods(self, **asked):
            return await super().pods(**{**asked, "resourceVersion": "-1"})

    async def observe():
        api = Forgetful(1, Costs(1000))
        with pod_watch_uses(api):
            task = asyncio.create_task(PodWatch(Pods(), "node1", None).run())
            await asyncio.sleep(3600)
            task.cancel()
        return len(api.seen)

    assert virtual_time.run(observe()) < 2 * 3600 / 10


def test_the_pause_of_retry_after_is_kept():
    class Busy(ApiServers):
        async def pods(self, **asked):
            self.note("429", asked)
            return Answer(429, b"", {"Retry-After": "7"})

    async def observe():
        api = Busy(1, Costs(1000))
        with pod_watch_uses(api):
            task = asyncio.create_task(PodWatch(Pods(), "node1", None).run())
            await asyncio.sleep(60)
            task.cancel()
        return [one.at for one in api.seen]

    asked = virtual_time.run(observe())
    assert len(asked) > 2
    assert all(after - before >= 7 for before, after in pairwise(asked))


def test_without_random_pauses_all_requests_are_in_one_second():
    outcome = run_agents(act=stop_all, away=60, timing=EVERY_SECOND, random_pauses=False)
    assert outcome.most_in_a_second >= AGENTS


def test_a_watch_without_an_answer_is_ended_long_before_its_timeout():
    class Silent(ApiServers):
        async def pods(self, **asked):
            if "watch" in asked:
                await asyncio.Event().wait()
            return await super().pods(**asked)

    async def observe():
        with pod_watch_uses(Silent(1, Costs(1000))):
            watch = PodWatch(Pods(), "node1", None)
            task = asyncio.create_task(watch.run())
            await asyncio.sleep(65)
            task.cancel()
        return watch.requests

    assert virtual_time.run(observe())["TimeoutError"] == 2


async def send_lists(api, lists):
    return await asyncio.gather(*(api.pods(timeout=60, fieldSelector="spec.nodeName=n") for _ in range(lists)))


def test_requests_without_a_seat_wait_and_get_429_when_the_queue_is_full():
    async def observe():
        api = ApiServers(1, Costs(1000, list_s=1.0))
        answers = await send_lists(api, 1000)
        return answers, asyncio.get_running_loop().time()

    answers, took = virtual_time.run(observe())
    at_once = SEATS // LIST_SEATS
    assert sum(one.status == 200 for one in answers) == at_once + QUEUE
    assert took == pytest.approx(-(-(at_once + QUEUE) // at_once))  # rounds of a second each
    assert {one.headers["Retry-After"] for one in answers if one.status == 429} == {"1"}


def test_under_overload_retry_after_doubles_and_then_decreases():
    async def observe():
        api, asked = ApiServers(1, Costs(1000, list_s=100.0)), []
        for _ in range(5):
            refused = [one for one in await one_second(api, 1000) if one.status == 429]
            asked.append(int(refused[-1].headers["Retry-After"]))
        return asked

    async def one_second(api, lists):
        tasks = [asyncio.create_task(send_lists(api, 1)) for _ in range(lists)]
        done, waiting = await asyncio.wait(tasks, timeout=1.0)
        for task in waiting:
            task.cancel()
        return [answer for task in done for answer in task.result()]

    assert virtual_time.run(observe()) == [1, 2, 2, 4, 4]


def test_the_simulation_equals_real_agents_over_http(monkeypatch):
    """Except for refused connections, whose number is random."""
    for name, seconds in (("_STABLE_S", 0.2), ("_REJOIN_S", 0.2)):
        monkeypatch.setattr(pod_watch_module, name, seconds)
    monkeypatch.setattr(burst, "STABLE_S", 0.3)
    monkeypatch.setattr(burst, "AWAY_S", 0.3)
    real = asyncio.run(burst.run_over_http(5, 3))
    ours = virtual_time.run(burst.simulate(5, real[0].sent // 5))
    for name, one, other in zip(burst.STEPS, real, ours, strict=True):
        assert (one.lists, one.watches) == (other.lists, other.watches), name
        assert one.sent == pytest.approx(other.sent, rel=0.2), name
    assert [(one.lists, one.watches) for one in real] == [(5, 5), (0, 5), (5, 10)]
