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

from agent.attribution import pod_watch as pod_watch_module
from agent.attribution.pod_watch import PodWatch
from agent.attribution.pods import Pods
from dev.bench.api_server import burst, virtual_time
from dev.bench.api_server.servers import ApiServers, Costs, Seen, speaking_to
from wire.backoff import Backoff

QUIET_S: Final = 30.0  # after the last agent's start, before anything happens to the servers
LONGEST_S: Final = 600.0
Act = Callable[[ApiServers], None]


@dataclass(frozen=True)
class Scene:
    """Agents start one after the other over `spread` seconds, each `jitter` later at most. Then `act`, if there is one, is done
    to the servers, and after `away` seconds those that were stopped come back. `list_s`: how long a list holds its seats;
    `timing`: of PodWatch, when it is to be another; `dice`: whether pauses are random."""

    name: str
    spread: float = 60.0
    jitter: float = 0.0
    act: Act | None = None
    away: float | None = None
    list_s: float = 0.05
    timing: tuple[tuple[str, Any], ...] = ()
    dice: bool = True


@dataclass(frozen=True)
class Outcome:
    """From the moment at which things are as they should be again: the act, the servers' return, or the first agent's start.
    `meanwhile`: what was refused before it. `done`: s until all watch. `waited`: how long each agent had no list, s."""

    kinds: Counter[str]
    meanwhile: int
    done: float
    most_in_a_second: int
    most_bytes_in_a_second: int
    waited: Sequence[float]


async def play(scene: Scene, nodes: int, servers: int, list_bytes: int) -> Outcome:
    loop, api = asyncio.get_running_loop(), ApiServers(servers, Costs(list_bytes, scene.list_s))
    starts = [scene.spread * number / nodes for number in range(nodes)]

    async def agent(number: int) -> None:
        await asyncio.sleep(starts[number] + random.uniform(0, scene.jitter))  # noqa: S311
        await PodWatch(Pods(), str(number), None).run()

    with speaking_to(api, scene.timing, dice=scene.dice):
        tasks = [asyncio.create_task(agent(number)) for number in range(nodes)]
        begun, first = 0.0, 0
        if scene.act:
            await asyncio.sleep(scene.spread + scene.jitter + QUIET_S)
            first = len(api.seen)
            scene.act(api)
            if scene.away is not None:
                await asyncio.sleep(scene.away)
                api.start()
            begun = loop.time()
        else:
            await asyncio.sleep(scene.spread)
        while api.open < nodes and loop.time() < begun + LONGEST_S:  # noqa: ASYNC110  as good as any, where time leaps
            await asyncio.sleep(0.1)
        done = loop.time() - begun
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended), "an agent ended by itself"
    seen = api.seen[first:]
    after = [one for one in seen if one.at >= begun]
    waited = [one.at - (begun if scene.act else starts[number_of(one)]) for one in after if one.kind == "list"]
    return Outcome(
        Counter(one.kind for one in after),
        sum(one.kind == "refused" for one in seen) - sum(one.kind == "refused" for one in after),
        done,
        most(after, lambda _one: 1),
        most(after, lambda one: one.sent),
        waited,
    )


def number_of(one: Seen) -> int:
    return int(one.node.partition("=")[2])


def most(seen: Sequence[Seen], weight: Callable[[Seen], int]) -> int:
    """In any second."""
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
SCENES: Final = (
    Scene("rolling restart, 50 pods a second", spread=100),
    Scene("all start within 30 s", spread=30),
    Scene("all start within 10 s", spread=10),
    Scene("... lists take 250 ms", spread=10, list_s=SLOW_S),
    Scene("... that, and a start jitter of 5 s", spread=10, list_s=SLOW_S, jitter=5),
    Scene("all start at one moment", spread=0),
    Scene("... with a start jitter of 5 s", spread=0, jitter=5),
    Scene("one of the servers goes away", act=stop_one),
    Scene("all streams break, servers stay", act=cut),
    Scene("... and are taken up at once", act=cut, timing=(("_REJOIN_S", 0.0),)),
    Scene("all servers away for 1 s", act=stop_all, away=1),
    Scene("all servers away for 1 min", act=stop_all, away=60),
    Scene("... and all try every second", act=stop_all, away=60, timing=EVERY_SECOND, dice=False),
)


def line(scene: Scene, one: Outcome) -> str:
    watches = one.kinds["watch"] + one.kinds["watch (410)"]
    refused = one.meanwhile + one.kinds["refused"]
    p50, p99 = (f"{statistics.quantiles(one.waited, n=100)[at]:.1f}" if one.waited else "-" for at in (49, 98))
    return (
        f"{scene.name:36} {one.kinds['list']:>6} {watches:>7} {one.kinds['429']:>6} {refused:>8} {one.most_in_a_second:>7}"
        f" {one.most_bytes_in_a_second / 1e6:>6.0f} {one.done:>6.1f} {p50:>6} {p99:>6}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="dev.bench.api_server.fleet")
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--pods", type=int, default=30, help="on a node")
    parser.add_argument("--servers", type=int, default=3, help="API servers")
    parser.add_argument("--agents", type=int, default=100, help="over real HTTP; 0: none")
    options = parser.parse_args()
    logging.getLogger(pod_watch_module.__name__).setLevel(logging.CRITICAL)  # servers go away here, on purpose
    body = burst.body_of(options.pods)
    packed = len(zlib.compress(body, 1))  # as an API server compresses what is longer than 128 KiB
    print(
        f"{options.nodes} agents, {options.servers} API servers; a list of {options.pods} pods: {len(body):,} bytes, "
        f"{packed:,} packed\n\n{'':36} {'lists':>6} {'watches':>7} {'429':>6} {'refused':>8} {'most/s':>7} {'MB/s':>6}"
        f" {'all s':>6} {'p50 s':>6} {'p99 s':>6}"
    )
    for scene in SCENES:
        random.seed(23)  # the same dice each time
        outcome = virtual_time.run(play(scene, options.nodes, options.servers, len(body)))
        print(line(scene, outcome), flush=True)
    print(
        "\nmost/s: answers in the second that has most of them. MB/s: bodies of lists in such a second, before compression."
        "\nall: until each agent watches. p50, p99: an agent's wait for its list, since it came up or the servers came back."
    )
    if options.agents:
        print(burst.compared(options.agents, options.pods, len(body)))


if __name__ == "__main__":
    main()
