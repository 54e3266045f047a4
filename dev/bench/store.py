"""`make bench-store`: the store with many forks in it: how fast beside SQLite and DuckDB, how large, how quick each view.

`python -m dev.bench.store [forks] [folder]`, 100 million without a word. Generated forks of 500 nodes and 20,000 pods, six
days of
them, so that there is a partition for each day; the clock of filing goes along with theirs. A folder is kept, and one that is
filled already is only asked; without one, all is deleted at the end. Must not live here: what the forks say (`world`).
"""

from __future__ import annotations

import gc
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import orjson

from collector.model import CheckedBatch, Filter, ForkQuery, Span
from collector.query.forks.latest import latest_forks
from collector.query.forks.received import received_since
from collector.query.forks.search import search
from collector.query.history.lineage import lineage
from collector.query.history.pairs import pairs
from collector.query.history.timeline import timeline
from collector.query.ledger.ledger import read_ledger
from collector.query.pods.counter_sources import attributions_of
from collector.query.pods.find import Order, find_pods
from collector.query.pods.snapshot import read_snapshot
from collector.query.read_context import ReadContext
from collector.store.engine import Engine
from collector.store.migrations import migrate
from collector.store.row_ids import pod_keys
from collector.store.writer import Writer
from collector.views.nodes.ledger import node_entries
from collector.views.pods.entries import pod_entries
from dev.bench.rivals import BATCH, cpu_s, rivals
from dev.bench.world import COMMS, NODES, PODS, World

DAY = 86_400_000_000_000  # ns
KEPT = 60 * 86400  # s: longer than anyone keeps a folder between two askings. What a look sees is its last 7 days
TIMES = 60  # that each view is asked


class Load(NamedTuple):
    """`speed`: forks a second and core. `until`: ns, when it begins to be asked. `wall`: s, with generating."""

    forks: int
    until: int
    speed: float
    wall: float
    memory: float  # MiB at most


def fill(engine: Engine, forks: int) -> Load:
    """The next batch is generated while the engine has one. What generating takes is not counted, what merging takes is."""
    writer, world = Writer(engine.writer), World()
    until, wall, before = time.time_ns(), time.monotonic(), cpu_s()
    begun, generating, told = until - 6 * DAY, 0.0, 0.0
    with ThreadPoolExecutor(1) as thread:
        inserted: Future[object] | None = None
        for done in range(0, forks, BATCH):
            start, end = (begun + (until - begun) * part // forks for part in (done, done + BATCH))
            since = time.thread_time()
            batch = world.batch(start, end, BATCH)
            generating += time.thread_time() - since
            if inserted is not None:
                inserted.result()
            inserted = thread.submit(_insert, writer, batch, end)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                speed = done / (cpu_s() - before - generating)
                print(f"{done:>12,} of {forks:,} after {told - wall:,.0f} s, {speed:,.0f} a second and core", file=sys.stderr)
        if inserted is not None:
            inserted.result()
    while engine.reader.query("SELECT count() FROM system.merges").result_rows[0][0]:
        time.sleep(1)
    return Load(forks, until, forks / (cpu_s() - before - generating), time.monotonic() - wall, _memory())


def _insert(writer: Writer, batch: CheckedBatch, now: int) -> None:
    writer.insert([(batch, None)], now)


def views(engine: Engine, now: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each thing that a page or a client asks; of a pod, a workload or a namespace of its own each time."""
    context = ReadContext(engine.reader, now - 7 * DAY, 2**63 - 1)
    draw, world = random.Random(2), World(2)  # noqa: S311
    week, hour = Span(now - 7 * DAY, now), Span(now - DAY // 24, now)
    entities = context.rows(int, "SELECT entity FROM fork WHERE cpu = 0 ORDER BY cityHash64(entity) LIMIT 100")

    def pods(pod_filter: Filter, order: Order = "last_seen") -> object:
        found = find_pods(context, pod_filter, 1000, order)
        whole = read_snapshot(context, *found, now - 900_000_000_000).snapshot
        return pod_entries(whole, now), node_entries(whole.ledger, now)

    def pod(then: Callable[..., object]) -> Callable[[], object]:
        def ask() -> object:
            attribution = world.pods[world.drawn(draw.randrange(NODES))]
            pod_filter = Filter(cluster="prod", namespace=attribution.namespace or "", pod=attribution.pod or "")
            found, _ = find_pods(context, pod_filter, 1)
            sources = attributions_of(context, found[0].id)
            return then(sources, pod_keys(found, sources))

        return ask

    def seek(span: Span, **what: object) -> object:
        return search(context, ForkQuery(Filter(), span)._replace(**what), 100, None)  # type: ignore[arg-type]

    yield "pods, the newest 1000", lambda: pods(Filter())
    yield "pods of a namespace", lambda: pods(Filter(namespace=f"team-{draw.randrange(50)}"))
    yield "pods by text", lambda: pods(Filter(text=f"service-{draw.randrange(1000)}"))
    yield "workload", lambda: pods(Filter(cluster="prod", workload=f"Deployment/service-{draw.randrange(1000)}"), "first_seen")
    yield "pod, its latest forks", pod(lambda sources, keys: latest_forks(context, list(sources), keys, 100))
    yield "pod, timeline of a week", pod(lambda sources, _: timeline(context, sources, Span(0, now), 3_600_000_000_000))
    yield "pod, pairs of a week", pod(lambda sources, keys: pairs(context, sources, keys, week, 100))
    yield "pod, lineage of a week", pod(lambda sources, keys: lineage(context, sources, keys, week, 2000))
    yield "ledger", lambda: read_ledger(context, 1000, by_cpu=True)
    yield "search, a comm, newest 100", lambda: seek(week, comm=draw.choice(COMMS))
    yield "search, an entity of a week", lambda: seek(week, entity=f"{draw.choice(entities):016x}")
    yield "search, a pid of an hour", lambda: seek(hour, pid=draw.randrange(4_000_000))
    yield "news", lambda: received_since(context, Filter(), now - 10_000_000_000, 1000)


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _ask(engine: Engine, now: int) -> None:
    """What they take of the CPU is told too, of all threads: it says more than the clock where others work beside this."""
    asked = list(views(engine, now))
    gc.collect()
    gc.freeze()  # the generated world is no collector's, and to walk through it would be counted as asking
    print(f"\n{'view':32}{'p50 ms':>10}{'p95 ms':>10}{'most ms':>10}{'CPU ms, p50':>14}")
    for name, ask in asked:
        ask()
        taken, used = [], []
        for _ in range(TIMES):
            begun, before = time.perf_counter(), time.process_time()
            ask()
            taken.append((time.perf_counter() - begun) * 1000)
            used.append((time.process_time() - before) * 1000)
        taken.sort()
        p95 = taken[TIMES * 95 // 100 - 1]
        print(
            f"{name:32}{statistics.median(taken):10.0f}{p95:10.0f}{taken[-1]:10.0f}{statistics.median(used):14.0f}", flush=True
        )


def _beside(engine: Engine, load: Load, folder: Path) -> None:
    sizes = engine.reader.query(
        "SELECT table, sum(bytes_on_disk), sum(rows), count() FROM system.parts "
        "WHERE active AND database = currentDatabase() GROUP BY table ORDER BY 2 DESC"
    ).result_rows
    fork = next(row for row in sizes if row[0] == "fork")
    print(f"{'':24}{'forks/s and core':>18}{'bytes a fork':>14}")
    print(f"{'the store, all tables':24}{load.speed:18,.0f}{sum(row[1] for row in sizes) / load.forks:14.1f}")
    print(f"{'  of that, forks alone':24}{'':18}{fork[1] / fork[2]:14.1f}")
    for rival in rivals(folder):
        print(f"{rival.name + ', forks alone':24}{rival.speed:18,.0f}{rival.size:14.1f}")
    print(f"\nloaded in {load.wall:,.0f} s, generating among it; memory at most {load.memory:,.0f} MiB")
    for table, size, rows, parts in sizes:
        print(f"  {table:10}{size / 2**20:10.1f} MiB{rows:14,} rows{parts:5} parts")


def _loaded(engine: Engine, folder: Path, forks: int) -> Load:
    """What was loaded before, or now."""
    note = folder / "load.json"
    if note.exists():
        return Load(**orjson.loads(note.read_bytes()))
    if engine.reader.query("SELECT count() FROM fork").result_rows[0][0]:
        raise SystemExit(f"{folder}: a load was cut off here; delete it")
    load = fill(engine, forks)
    note.write_bytes(orjson.dumps(load._asdict()))
    return load


def main() -> None:
    forks = int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else 100_000_000
    kept = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    folder = kept or Path(tempfile.mkdtemp(prefix="forklore-bench-"))
    beside = Path(tempfile.mkdtemp(prefix="forklore-bench-"))
    try:
        engine = Engine.open(f"chdb://{folder}/store")
        migrate(engine.writer, KEPT)
        load = _loaded(engine, folder, forks)
        print(f"{load.forks:,} forks of {PODS:,} pods on {NODES} nodes, six days; {BATCH:,} in a commit\n")
        _beside(engine, load, beside)
        _ask(engine, load.until)
        print(f"\nmemory at most {_memory():,.0f} MiB")
        engine.close()
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if kept is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
