from __future__ import annotations
import argparse, asyncio, contextlib, logging, random, statistics, time
from collections import Counter
from collections.abc import Awaitable, Callable
from agent.identity import pods as pods_module
from agent.identity.pods import Pods, PodWatch
from bench import virtual_time
from bench.api_servers import ApiServers, Costs, Seen

async def run_from(api, i, after):
    await asyncio.sleep(after)
    await PodWatch(Pods(), str(i), None).run()

async def scenario(n, servers, costs, spread, until, at=None, act=None, undo=None, ):
    api = ApiServers(servers, costs)
    pods_module.core_api = lambda _: contextlib.nullcontext(api)
    starts = [spread * i / n for i in range(n)]
    tasks = [asyncio.create_task(run_from(api, i, s)) for i, s in enumerate(starts)]
    loop = asyncio.get_running_loop()
    if act:
        await asyncio.sleep(at)
        mark = len(api.seen); api.most_open = 0
        act(api)
        t0 = loop.time()
        if undo:
            await asyncio.sleep(undo); api.start()
            t0 = loop.time()
    else:
        mark = 0; t0 = 0
    # until all watch
    while loop.time() < t0 + until and not (api.open == n and loop.time() > t0 + spread*(not act)):
        await asyncio.sleep(0.1)
    done = loop.time() - t0
    for t in tasks: t.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    seen = [s for s in api.seen[mark:] ]
    after = [s for s in seen if s.at >= t0]
    return dict(kinds=Counter(s.kind for s in after), before=Counter(s.kind for s in seen if s.at < t0), done=done, peak=peak(after), peakB=peak(after, bytes_=True),
       names=[x.at - starts[int(x.node.split("=")[1])] for x in after if x.kind=="list"] if not act else None)

def peak(seen, width=1.0, bytes_=False):
    times = sorted((s.at, s.sent if bytes_ else 1) for s in seen)
    best = total = 0; left = 0
    for i, (t, w) in enumerate(times):
        total += w
        while times[left][0] <= t - width:
            total -= times[left][1]; left += 1
        best = max(best, total)
    return best

def main():
    logging.getLogger("agent.identity.pods").setLevel(logging.ERROR)
    for ls in (0.05, 0.25):
        costs = Costs(190_000, ls)
        for name, kw in {
            "start spread 0": dict(spread=0, until=300),
            "start spread 10": dict(spread=10, until=300),
            "start spread 60": dict(spread=60, until=300),
            "cut all": dict(spread=60, until=300, at=120, act=lambda a: a.cut()),
            "one of 3 stops": dict(spread=60, until=300, at=120, act=lambda a: a.stop(1)),
            "outage 10 s": dict(spread=60, until=600, at=120, act=lambda a: a.stop(), undo=10),
            "outage 60 s": dict(spread=60, until=600, at=120, act=lambda a: a.stop(), undo=60),
            "outage 600 s": dict(spread=60, until=600, at=120, act=lambda a: a.stop(), undo=600),
        }.items():
            random.seed(23)
            t = time.process_time()
            r = virtual_time.run(scenario(5000, 3, costs, **kw))
            names = r.pop("names")
            q = [round(x, 1) for x in statistics.quantiles(names, n=100)[49::49]] + [round(max(names), 1)] if names else ""
            print(ls, f"{name:18}", dict(r["kinds"]), "before", dict(r["before"]), f"done {r['done']:.1f} peak {r['peak']}/s {r['peakB']/1e6:.0f} MB/s names p50 p99 max {q} cpu {time.process_time()-t:.1f}", flush=True)
if __name__ == "__main__": main()
