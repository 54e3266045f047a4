"""`make bench-store`: the store with many forks in it: how fast beside SQLite and DuckDB, how large, how quick each view.

`python -m bench.store [forks]`, 100 million without a word. Generated forks of 500 nodes and 20,000 pods, six days of them, so
that there is a partition for each day; the clock of filing goes along with theirs. Must not live here: what the
store does with them.
"""

from __future__ import annotations

import random
import resource
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from collector.rows import CheckedFork, CheckedLines, CheckedNode, CheckedSummary, Filter, Sought, Span, Tally
from collector.store import history, reading, searching
from collector.store.engine import Engine
from collector.store.filing import Filing
from collector.store.ledger import ledger_rows
from collector.store.looks import Look
from collector.store.naming import keys_of_pods
from collector.store.packing import packed
from collector.store.schema import prepare
from collector.subjects import subject_of
from collector.views.ledger import node_entries
from collector.views.pods import pod_entries
from collector.views.times import stamp

NODES, PODS, CPUS = 500, 20_000, 16
DAY = 86_400_000_000_000  # ns
BATCH = 50_000  # forks of one commit: ten agents' fullest batches
SAMPLE = 500_000  # forks that SQLite and DuckDB are given, too
COMMS = ("sh", "bash", "python3", "curl", "node", "java", "runc:[2:INIT]", "healthcheck", "cat", "grep", "psql", "redis-cli")


class World:
    """Pods that live on nodes; each draws from a few comms. `seed` makes every run the same."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)  # noqa: S311 - nobody is to be kept from guessing it
        self.pods = [self._pod(number) for number in range(PODS)]
        self.sequences = [[0] * CPUS for _ in range(NODES)]
        self.pids = [1000] * NODES
        self.totals = [0] * PODS
        self.shells = [[(self.random.getrandbits(64), 100) for _ in range(4)] for _ in range(PODS)]

    def _pod(self, number: int) -> Any:
        deployment, node = f"service-{number // 20}", number % NODES
        return subject_of(
            {
                "cgroup": {"id": 1000 + number, "path": f"/kubepods/burstable/pod{number:032x}/{number * 7919:064x}"},
                "container": {"id": f"{number * 7919:064x}", "name": "app",
                              "image": f"registry.example/{deployment}:1.{number % 7}"},
                "k8s": {
                    "cluster": "prod", "node": f"node-{node}", "namespace": f"team-{number // 400}",
                    "pod": f"{deployment}-{number:010x}", "pod_uid": f"{number:08x}-0000-4000-8000-000000000000",
                    "labels": {"app": deployment, "tier": "web" if number % 3 else "batch"},
                    "workload": {"kind": "Deployment", "name": deployment},
                },
            }
        )  # fmt: skip

    def batch(self, now: int, until: int, size: int) -> CheckedLines:
        """Forks between two moments, of a few nodes, as their agents' batches come; with their pods' summaries."""
        lines, draw = CheckedLines(), self.random
        nodes = draw.sample(range(NODES), 10)
        step = max(1, (until - now) // size)
        touched: set[int] = set()
        for place in range(size):
            node = nodes[place % 10]
            # A few pods fork much, most fork little.
            number = node + NODES * min(int(draw.paretovariate(1.2)) - 1, PODS // NODES - 1)
            touched.add(number)
            lines.forks.append(self._fork(number, node, now + place * step))
        for number in touched:
            lines.summaries.append(self._summary(number, until))
        for node in nodes:
            lines.nodes.append(self._node(node, until))
        return lines

    def _fork(self, number: int, node: int, at: int) -> CheckedFork:
        draw, cpu = self.random, self.random.randrange(CPUS)
        sequence = self.sequences[node][cpu]
        self.sequences[node][cpu] += 1
        self.totals[number] += 1
        self.pids[node] = pid = 300 + (self.pids[node] + draw.randrange(1, 4)) % 4_000_000
        entity, (parent, parent_pid) = draw.getrandbits(64), draw.choice(self.shells[number])
        if draw.random() < 0.1:
            self.shells[number][draw.randrange(4)] = entity, pid
        comm, start = COMMS[(number + draw.randrange(3)) % len(COMMS)], stamp(at - 17_000 - draw.randrange(2000))
        born = stamp(at - at % 3_600_000_000_000)
        parent_pids = {f"parent_{of}": parent_pid for of in ("tid", "pid", "process_tid", "process_pid")}
        parent_pids |= {f"parent_{of}": parent_pid % 30_000 for of in ("ns_tid", "ns_pid", "process_ns_tid", "process_ns_pid")}
        said = {
            "event": "sched_process_fork", "id": "", "timestamp": stamp(at), "kind": "process", **parent_pids,
            **dict.fromkeys(("child_tid", "child_pid", "leader_tid", "leader_pid"), pid),
            **dict.fromkeys(("child_ns_tid", "child_ns_pid", "leader_ns_tid", "leader_ns_pid"), pid % 30_000),
            "parent_start_time": born, "parent_process_start_time": born, "start_time": start, "leader_start_time": start,
            "comm": comm, "parent_comm": comm, "uid": 1000, "gid": 1000, "child_ns_pids": [pid, pid % 30_000],
            "child_ns_pids_truncated": False, "clone": [], "parent_cgroup": None,
            "namespaces": dict.fromkeys(("pid", "mnt", "net", "user", "uts", "ipc", "cgroup"), 4026530000 + number * 7),
            "process_entity_id": f"{entity:016x}", "parent_entity_id": f"{parent:016x}",
            "enrichment": {"state": "resolved", "by": "status", "lag_ms": 0},
        }  # fmt: skip
        subject = self.pods[number]
        return CheckedFork(stream(node), cpu, sequence, 1000 + number, subject, 5, at, True, comm, said, None)

    def _summary(self, number: int, end: int) -> CheckedSummary:
        total, name = self.totals[number], stream(number % NODES)
        totals = Tally(total, 0, total, 0, 0, 0, 0)
        made = f"{name}.summary.{1000 + number}.{end // 1_000_000_000}"
        start, counts = end - 10_000_000_000, Tally(min(9, total), 0, 0, 0, 0, 0, 0)
        return CheckedSummary(
            made, name, 1000 + number, self.pods[number], 5, end, start, end, end // 1_000_000_000, counts, totals
        )

    def _node(self, node: int, end: int) -> CheckedNode:
        heads = dict(enumerate(self.sequences[node]))
        sent = sum(heads.values())
        tally = dict.fromkeys(Tally._fields, 0) | {"processes": sent, "emitted": sent}
        sink = {"delivered": sent, "queued": {}, "lost": {}, "filtered": {}}
        ledger = {"captured": sent, "suppressed": 0, "kernel_workers": 0, "lost": {}, "sinks": {"collector": sink}}
        body = {"agent": {"version": "1"}, "lag_ms": 0, "counts": tally, "totals": tally, "heads": heads, "ledger": ledger}
        number, start = end // 1_000_000_000, end - 10_000_000_000
        made = f"{stream(node)}.node.{number}"
        packed_body = orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)
        return CheckedNode(
            made, stream(node), "prod", f"node-{node}", end, start, end, number, packed_body, sent, heads, {"collector": sent}
        )


def stream(node: int) -> str:
    return f"0ac846b9-54b9-46db-ad41-{node:012x}.9f3c51d2a7e04b68"


def cpu_s() -> float:
    """Of this process with all of its threads, the engine's merges among them."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def fill(filing: Filing, world: World, forks: int) -> float:
    """Forks a second and core."""
    now = time.time_ns()
    begun, spent = now - 6 * DAY, 0.0
    for done in range(0, forks, BATCH):
        since, until = (begun + (now - begun) * part // forks for part in (done, done + BATCH))
        lines = world.batch(since, until, BATCH)
        before = cpu_s()
        filing.file([(lines, None)], until)
        spent += cpu_s() - before
        if done % (20 * BATCH) == 0 and sys.stderr.isatty():
            print(f"\r{done + BATCH:>12,} of {forks:,}", end="", file=sys.stderr, flush=True)
    return forks / spent


def views(engine: Engine, world: World, now: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each thing that a page or a client asks; a pod of its own each time."""
    look = Look(engine.reader, now - 7 * DAY, 2**63 - 1)
    draw = random.Random(2)  # noqa: S311
    week, hour = Span(now - 7 * DAY, now), Span(now - DAY // 24, now)

    def pods(wish: Filter, limit: int = 1000) -> object:
        whole, _ = reading.snapshot(look, *reading.find_pods(look, wish, limit), now - 900_000_000_000)
        return pod_entries(whole, now), node_entries(whole.ledger, now)

    def pod(then: Callable[..., object]) -> Callable[[], object]:
        def ask() -> object:
            subject = world.pods[draw.randrange(PODS)]
            wish = Filter(cluster="prod", namespace=subject.namespace or "", pod=subject.pod or "")
            found, _ = reading.find_pods(look, wish, 1)
            mine = reading.choose(look, found).of_pods()
            return then(mine, keys_of_pods(found, mine))

        return ask

    yield "pods, the newest 1000", lambda: pods(Filter())
    yield "pods of a namespace", lambda: pods(Filter(namespace=f"team-{draw.randrange(50)}"))
    yield "pods by text", lambda: pods(Filter(text=f"service-{draw.randrange(1000)}"))
    yield "workload", lambda: pods(Filter(cluster="prod", workload=f"Deployment/service-{draw.randrange(1000)}"))
    yield "pod, its latest forks", pod(lambda mine, keys: searching.latest_forks(look, list(mine), keys, 100))
    yield "pod, timeline of a week", pod(lambda mine, keys: history.timeline(look, mine, Span(0, now), 3_600_000_000_000))
    yield "pod, pairs of a week", pod(lambda mine, keys: history.pairs(look, mine, keys, week, 100))
    yield "pod, lineage of a week", pod(lambda mine, keys: history.lineage(look, mine, keys, week, 2000))
    yield "ledger", lambda: ledger_rows(look, 1000, by_cpu=True)
    yield (
        "search, a comm, newest 100",
        lambda: searching.search(look, Sought(Filter(), week, comm=draw.choice(COMMS)), 100, None),
    )
    yield (
        "search, an entity of a week",
        lambda: searching.search(look, Sought(Filter(), week, entity=f"{draw.getrandbits(64):016x}"), 100, None),
    )
    yield (
        "search, a pid of an hour",
        lambda: searching.search(look, Sought(Filter(), hour, pid=draw.randrange(4_000_000)), 100, None),
    )
    yield "news", lambda: searching.news(look, Filter(), now - 10_000_000_000, 1000)


def rivals(folder: Path) -> list[tuple[str, float, float]]:
    """Name, forks a second and core, bytes a fork: the same columns, nothing else beside them."""
    world, now = World(), time.time_ns()
    lines = [world.batch(now, now + BATCH, BATCH).forks for _ in range(SAMPLE // BATCH)]
    columns = "cluster, namespace, pod, time, stream, cpu, sequence, node, holder, kind, comm, parent_comm, pid, ns_pid, "
    columns += "parent_pid, parent_ns_pid, entity, parent_entity, age, parent_start, context, rest"
    rows = [
        [
            ("prod", one.subject.namespace, one.subject.pod, one.time, one.stream, one.cpu, one.sequence, one.subject.node,
             one.holder,
             *(value - 2**63 if name in ("entity", "parent_entity") else value.decode() if isinstance(value, bytes) else value
               for name, value in packed(one.said, one.time)._asdict().items()))
            for one in batch
        ]
        for batch in lines
    ]  # fmt: skip
    return [_sqlite(folder / "lite.db", columns, rows), _duckdb(folder / "duck.db", columns, rows)]


def _sqlite(path: Path, columns: str, rows: list[list[tuple[Any, ...]]]) -> tuple[str, float, float]:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(
        f"CREATE TABLE fork ({columns}, PRIMARY KEY (cluster, namespace, pod, time, stream, cpu, sequence)) WITHOUT ROWID"
    )
    before = cpu_s()
    for batch in rows:
        db.execute("BEGIN")
        db.executemany(f"INSERT OR IGNORE INTO fork VALUES ({', '.join('?' * 22)})", batch)  # noqa: S608 - question marks
        db.execute("COMMIT")
    spent = cpu_s() - before
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return "SQLite", SAMPLE / spent, path.stat().st_size / SAMPLE


def _duckdb(path: Path, columns: str, rows: list[list[tuple[Any, ...]]]) -> tuple[str, float, float]:
    import duckdb  # noqa: PLC0415 - only here
    import pyarrow  # noqa: PLC0415

    names = columns.split(", ")
    db = duckdb.connect(str(path), config={"threads": 1})
    before = cpu_s()
    for place, batch in enumerate(rows):
        table = pyarrow.table(dict(zip(names, zip(*batch, strict=True), strict=True)))
        db.register("t", table)
        db.execute("INSERT INTO fork SELECT * FROM t" if place else "CREATE TABLE fork AS SELECT * FROM t")
    spent = cpu_s() - before
    db.close()
    return "DuckDB", SAMPLE / spent, path.stat().st_size / SAMPLE


def main() -> None:
    forks = int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else 100_000_000
    folder = Path(tempfile.mkdtemp(prefix="forklore-bench-"))
    try:
        engine = Engine.open(f"chdb://{folder}/store")
        prepare(engine.writer, 7 * 86400)
        world = World()
        print(f"{forks:,} forks of {PODS:,} pods on {NODES} nodes, six days; {BATCH:,} in a commit\n")
        speed = fill(Filing(engine.writer), world, forks)
        sizes = engine.reader.query(
            "SELECT table, sum(bytes_on_disk), sum(rows) FROM system.parts WHERE active AND database = currentDatabase() "
            "GROUP BY table ORDER BY 2 DESC"
        ).result_rows
        fork = next(row for row in sizes if row[0] == "fork")
        print(f"{'':24}{'forks/s and core':>18}{'bytes a fork':>14}")
        print(f"{'the store, all tables':24}{speed:18,.0f}{sum(row[1] for row in sizes) / forks:14.1f}")
        print(f"{'  of that, forks alone':24}{'':18}{fork[1] / fork[2]:14.1f}")
        for name, rate, size in rivals(folder):
            print(f"{name + ', forks alone':24}{rate:18,.0f}{size:14.1f}")
        print(f"\n{'view':32}{'p50 ms':>10}{'p95 ms':>10}")
        for name, ask in views(engine, world, time.time_ns()):
            ask()
            taken = []
            for _ in range(20):
                begun = time.perf_counter()
                ask()
                taken.append((time.perf_counter() - begun) * 1000)
            print(f"{name:32}{statistics.median(taken):10.0f}{sorted(taken)[18]:10.0f}")
        print(f"\nmemory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")
        for table, size, rows in sizes:
            print(f"  {table:10}{size / 2**20:10.1f} MiB{rows:14,} rows")
        engine.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
