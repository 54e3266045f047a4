"""SQLite and DuckDB with the same forks in the same columns, and no other table."""

from __future__ import annotations

import resource
import sqlite3
import time
from pathlib import Path
from typing import Any, NamedTuple

from dev.bench.world import World

__all__ = ["Rival", "cpu_s", "rivals"]

SAMPLE = 500_000  # forks inserted
BATCH = 50_000  # forks per commit
_COLUMNS = (
    "cluster, namespace, pod, time, stream, cpu, sequence, node, holder, kind, comm, parent_comm, pid, ns_pid, "
    "parent_pid, parent_ns_pid, entity, parent_entity, age, parent_start, context, rest"
)


class Rival(NamedTuple):
    """`speed`: forks per second and core. `size`: bytes per fork on the disk."""

    name: str
    speed: float
    size: float


def cpu_s() -> float:
    """CPU time of this process with all of its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def rivals(folder: Path) -> list[Rival]:
    world, now = World(), time.time_ns()
    rows = [_rows(world, now + place) for place in range(SAMPLE // BATCH)]
    return [_sqlite(folder / "lite.db", rows), _duckdb(folder / "duck.db", rows)]


def _rows(world: World, now: int) -> list[tuple[Any, ...]]:
    return [
        ("prod", one.attribution.namespace, one.attribution.pod, one.time, one.stream, one.cpu, one.sequence,
         one.attribution.node, one.cgroup,
         *(value - 2**63 if name in ("entity", "parent_entity") else value.decode() if isinstance(value, bytes) else value
           for name, value in one.columns._asdict().items()))
        for one in world.batch(now, now + BATCH, BATCH).forks
    ]  # fmt: skip


def _sqlite(path: Path, rows: list[list[tuple[Any, ...]]]) -> Rival:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(
        f"CREATE TABLE fork ({_COLUMNS}, PRIMARY KEY (cluster, namespace, pod, time, stream, cpu, sequence)) WITHOUT ROWID"
    )
    before = cpu_s()
    for batch in rows:
        db.execute("BEGIN")
        db.executemany(f"INSERT OR IGNORE INTO fork VALUES ({', '.join('?' * 22)})", batch)  # noqa: S608 - question marks
        db.execute("COMMIT")
    spent = cpu_s() - before
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return Rival("SQLite", SAMPLE / spent, path.stat().st_size / SAMPLE)


def _duckdb(path: Path, rows: list[list[tuple[Any, ...]]]) -> Rival:
    import duckdb  # noqa: PLC0415 - only here
    import pyarrow  # noqa: PLC0415

    names = _COLUMNS.split(", ")
    db = duckdb.connect(str(path), config={"threads": 1})
    before = cpu_s()
    for place, batch in enumerate(rows):
        table = pyarrow.table(dict(zip(names, zip(*batch, strict=True), strict=True)))
        db.register("t", table)
        db.execute("INSERT INTO fork SELECT * FROM t" if place else "CREATE TABLE fork AS SELECT * FROM t")
    spent = cpu_s() - before
    db.close()
    return Rival("DuckDB", SAMPLE / spent, path.stat().st_size / SAMPLE)
