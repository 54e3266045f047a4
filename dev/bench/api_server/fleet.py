"""What the API servers see of 5,000 agents: at a rolling restart, when all start at once, when streams break, after an outage.

The agents are the real PodWatch with its own timing, in virtual time; the servers are arithmetic (api_servers). To check
the arithmetic, a hundred agents do the same over real HTTP (burst). `make bench-fleet` or `python -m
dev.bench.api_server.fleet` runs both, in a minute or two; `--nodes`, `--pods` and `--servers` change the cluster, `--agents 0`
leaves HTTP out.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import statistics
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.attribution.pods import Pods
from agent.attribution.pods import watch as pod_watch_module
from agent.attribution.pods.watch import PodWatch
from dev.bench.api_server import burst, virtual_time
from dev.bench.api_server.servers import ApiServers, Costs, Seen, pod_watch_uses
from wire.backoff import Backoff

QUIET_S: Final = 30.0  # after the last agent's start, before anything happens to the servers
LONGEST_S: Final = 600.0
Act = Callable[[ApiServers], None]


@dataclass(frozen=True)
class Scenario:
    """Agents start one after the other over `spread` seconds, each up to `jitter` later. Then `act` is applied to the servers,
    and after `away` seconds stopped servers start again. `list_s`: how long a list holds its seats. `timing`: changed constants
    of PodWatch. `random_pauses`: False makes every pause the longest."""

    name: str
    spread: float = 60.0
    jitter: float = 0.0
    act: Act | None = None
    away: float | None = None
    list_s: float = 0.05
    timing: tuple[tuple[str, Any], ...] = ()
    random_pauses: bool = True


@dataclass(frozen=True)
class Outcome:
    """Counted from the moment when the servers work: the act, the servers' return, or the first agent's start. `meanwhile`:
    refused connections before it. `all_watching_s`: until all agents watch. `waited`: seconds that each agent had no list."""

    kinds: Counter[str]
    meanwhile: int
    all_watching_s: float
    most_in_a_second: int
    most_bytes_in_a_second: int
    waited: Sequence[float]


async def run_scenario(scenario: Scenario, nodes: int, servers: int, list_bytes: int) -> Outcome:
    loop, api = asyncio.get_running_loop(), ApiServers(servers, Costs(list_bytes, scenario.list_s))
    starts = [scenario.spread * number / nodes for number in range(nodes)]

    async def agent(number: int) -> None:
        await asyncio.sleep(starts[number] + random.uniform(0, scenario.jitter))  # noqa: S311
        await PodWatch(Pods(), str(number), None).run()

    with pod_watch_uses(api, scenario.timing, random_pauses=scenario.random_pauses):
        tasks = [asyncio.create_task(agent(number)) for number in range(nodes)]
        base, first = 0.0, 0
        if scenario.act:
            await asyncio.sleep(scenario.spread + scenario.jitter + QUIET_S)
            first = len(api.seen)
            scenario.act(api)
            if scenario.away is not None:
                await asyncio.sleep(scenario.away)
                api.start()
            base = loop.time()
        else:
            await asyncio.sleep(scenario.spread)
        while api.open < nodes and loop.time() < base + LONGEST_S:  # noqa: ASYNC110  virtual time jumps
            await asyncio.sleep(0.1)
        all_watching_s = loop.time() - base
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended), "an agent ended by itself"
    seen = api.seen[first:]
    after = [one for one in seen if one.at >= base]
    waited = [one.at - (base if scenario.act else starts[number_of(one)]) for one in after if one.kind == "list"]
    return Outcome(
        Counter(one.kind for one in after),
        sum(one.kind == "refused" for one in seen) - sum(one.kind == "refused" for one in after),
        all_watching_s,
        most(after, lambda _one: 1),
        most(after, lambda one: one.sent),
        waited,
    )


def number_of(one: Seen) -> int:
    return int(one.node.partition("=")[2])


def most(seen: Sequence[Seen], weight: Callable[[Seen], int]) -> int:
    """The largest sum of weights within any second."""
    heaviest = total = oldest = 0
    for one in seen:
        total += weight(one)
        while seen[oldest].at <= one.at - 1.0:
            total -= weight(seen[oldest])
            oldest += 1
        heaviest = max(heaviest, total)
    return heaviest


def cut(api: ApiServers) -> None:
    api.cut()


def stop_one(api: ApiServers) -> None:
    api.stop(1)


def stop_all(api: ApiServers) -> None:
    api.stop()


SLOW_S: Final = 0.25
EVERY_SECOND: Final = (("_BACKOFF", Backoff(1.0, 1.0)), ("_REJOIN_S", 0.0))
SCENARIOS: Final = (
    Scenario("rolling restart, 50 pods a second", spread=100),
    Scenario("all start within 30 s", spread=30),
    Scenario("all start within 10 s", spread=10),
    Scenario("... lists take 250 ms", spread=10, list_s=SLOW_S),
    Scenario("... that, and a start jitter of 5 s", spread=10, list_s=SLOW_S, jitter=5),
    Scenario("all start at one moment", spread=0),
    Scenario("... with a start jitter of 5 s", spread=0, jitter=5),
    Scenario("one of the servers goes away", act=stop_one),
    Scenario("all streams break, servers stay", act=cut),
    Scenario("... and are taken up at once", act=cut, timing=(("_REJOIN_S", 0.0),)),
    Scenario("all servers away for 1 s", act=stop_all, away=1),
    Scenario("all servers away for 1 min", act=stop_all, away=60),
    Scenario("... and all try every second", act=stop_all, away=60, timing=EVERY_SECOND, random_pauses=False),
)


def line(scenario: Scenario, one: Outcome) -> str:
    watches = one.kinds["watch"] + one.kinds["watch (410)"]
    refused = one.meanwhile + one.kinds["refused"]
    p50, p99 = (f"{statistics.quantiles(one.waited, n=100)[at]:.1f}" if one.waited else "-" for at in (49, 98))
    return (
        f"{scenario.name:36} {one.kinds['list']:>6} {watches:>7} {one.kinds['429']:>6} {refused:>8} {one.most_in_a_second:>7}"
        f" {one.most_bytes_in_a_second / 1e6:>6.0f} {one.all_watching_s:>6.1f} {p50:>6} {p99:>6}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.bench.api_server.fleet")
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--pods", type=int, default=30, help="on a node")
    parser.add_argument("--servers", type=int, default=3, help="API servers")
    parser.add_argument("--agents", type=int, default=100, help="over real HTTP; 0: none")
    options = parser.parse_args()
    logging.getLogger(pod_watch_module.__name__).setLevel(logging.CRITICAL)  # servers stop here on purpose
    body = burst.body_of(options.pods)
    packed = len(zlib.compress(body, 1))  # as an API server compresses what is longer than 128 KiB
    print(
        f"{options.nodes} agents, {options.servers} API servers; a list of {options.pods} pods: {len(body):,} bytes, "
        f"{packed:,} packed\n\n{'':36} {'lists':>6} {'watches':>7} {'429':>6} {'refused':>8} {'most/s':>7} {'MB/s':>6}"
        f" {'all s':>6} {'p50 s':>6} {'p99 s':>6}"
    )
    for scenario in SCENARIOS:
        random.seed(23)  # the same pauses in each run
        outcome = virtual_time.run(run_scenario(scenario, options.nodes, options.servers, len(body)))
        print(line(scenario, outcome), flush=True)
    print(
        "\nmost/s: answers in the second that has most of them. MB/s: bodies of lists in such a second, before compression."
        "\nall: until each agent watches. p50, p99: an agent's wait for its list, since it came up or the servers came back."
    )
    if options.agents:
        print(burst.compare(options.agents, options.pods, len(body)))


if __name__ == "__main__":
    main()
