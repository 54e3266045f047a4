"""Writes docs/store/cluster.sql out of the collector's own tables: `python -m dev.generate.store_sql`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from collector.store.tables import STATEMENTS, VERSION

__all__ = ["FILE", "cluster_sql"]

FILE: Final = Path(__file__).parents[2] / "docs/store/cluster.sql"
WEEK: Final = 604800
HEAD: Final = f"""\
-- forklore's tables, version {VERSION}, on a replicated, sharded ClickHouse cluster.
-- Made by `python -m dev.generate.store_sql`.
--
-- Here the cluster is called `forklore` (in ON CLUSTER and Distributed), and `retention` is 7d: its seconds, and twice as
-- many, with two minutes of grace, are in the TTLs. {{shard}} and {{replica}} are macros of each server's settings. Run it
-- once, from any server:
--     clickhouse-client --multiquery < cluster.sql

CREATE DATABASE IF NOT EXISTS forklore ON CLUSTER forklore;
"""


def cluster_sql() -> str:
    """One statement after the other."""
    parts = [HEAD]
    for one in STATEMENTS:
        parts += _statements(one.create(WEEK))
    parts.append(f"INSERT INTO forklore.version (version) VALUES ({VERSION});\n")  # noqa: S608 - our own words
    return "\n".join(parts)


def _statements(statement: str) -> list[str]:
    name = re.search(r"EXISTS (\w+)", statement)[1]  # type: ignore[index]
    if statement.startswith("CREATE MATERIALIZED VIEW"):
        # A row that comes to a shard is summed up there.
        local = re.sub(r"EXISTS (\w+) TO (\w+)", r"EXISTS forklore.\1 ON CLUSTER forklore TO forklore.\2_local", statement)
        return [re.sub(r"FROM (made_in|came_in|summary|gap)\b", r"FROM forklore.\1_local", local) + ";\n"]
    local = statement.replace(f"EXISTS {name} ", f"EXISTS forklore.{name}_local ON CLUSTER forklore ", 1)
    local = re.sub(r"non_replicated_deduplication_window = \d+", "replicated_deduplication_window = 10000", local)
    # No {shard} in the path of what is on all servers alike: one set of replicas for all of them.
    path = f"/clickhouse/tables/{'all' if name in ('subject', 'version') else '{shard}'}/forklore/{name}"
    replica = "{shard}-{replica}" if name in ("subject", "version") else "{replica}"
    local = re.sub(
        r"ENGINE = (\w*MergeTree)(?:\((\w+)\))?",
        lambda found: f"ENGINE = Replicated{found[1]}('{path}', '{replica}'{', ' + found[2] if found[2] else ''})",
        local,
    )
    if name in ("subject", "version"):
        return [f"{local.replace(f'{name}_local', name)};\n"]
    over = f"CREATE TABLE IF NOT EXISTS forklore.{name} ON CLUSTER forklore AS forklore.{name}_local"
    return [f"{local};\n", f"{over}\nENGINE = Distributed(forklore, forklore, {name}_local, cityHash64(stream));\n"]


if __name__ == "__main__":
    FILE.write_text(cluster_sql())
