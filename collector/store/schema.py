"""The tables, and how a connection to them is opened.

Times are nanoseconds since 1970 UTC as the sender said; `received` and `seen` are the collector's own clock in the same unit,
so that retention does not hang on a node's clock. Must not live here: queries.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from collector.rows import HOST, Tally

__all__ = ["VERSION", "Stale", "open_connection", "prepare"]

_TALLY: Final = ", ".join(
    f"{prefix}_{name} INTEGER NOT NULL DEFAULT 0" for prefix in ("counts", "totals") for name in Tally._fields
)

_FIRST: Final = f"""
-- One load of the probe on one boot of one node.
CREATE TABLE stream (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, seen INTEGER NOT NULL);

-- Which sequence numbers of a CPU have come, as runs without a hole, both ends included. This is what files an event once
-- however often it arrives, and what shows the holes; it stays small because numbers mostly come in order.
CREATE TABLE run (stream INTEGER NOT NULL, cpu INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (stream, cpu, first)) WITHOUT ROWID;

-- The ids of all other events, as 16 bytes of BLAKE2b.
CREATE TABLE told (id BLOB PRIMARY KEY, received INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX told_received ON told (received);

-- cgroup, container and k8s of an event, told once and pointed at by thousands.
CREATE TABLE subject (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, seen INTEGER NOT NULL, body BLOB NOT NULL);

-- `key`: cluster and uid, or cluster, node and cgroup where no uid is known.
CREATE TABLE pod (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, cluster TEXT NOT NULL, node TEXT NOT NULL, namespace TEXT,
    name TEXT, uid TEXT, first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL);
CREATE INDEX pod_name ON pod (namespace, name);
CREATE INDEX pod_seen ON pod (last_seen);

-- One cgroup of one stream (cgroup -1: the stream's host), whose it is as far as is known (rank, said), how many of its forks
-- are filed, and its newest summary. `pod` null: outside pods.
CREATE TABLE holder (id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, cgroup INTEGER NOT NULL, pod INTEGER,
    cluster TEXT NOT NULL, node TEXT NOT NULL, subject INTEGER NOT NULL, rank INTEGER NOT NULL, said INTEGER NOT NULL,
    seen INTEGER NOT NULL, filed INTEGER NOT NULL DEFAULT 0, first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL,
    start INTEGER, "end" INTEGER, number INTEGER, received INTEGER, {_TALLY},
    UNIQUE (stream, cgroup));
CREATE INDEX holder_pod ON holder (pod);

-- Processes forked, by the comm of who forked them.
CREATE TABLE parent (holder INTEGER NOT NULL, comm TEXT NOT NULL, known INTEGER NOT NULL, forks INTEGER NOT NULL,
    PRIMARY KEY (holder, comm, known)) WITHOUT ROWID;

-- What each holder did in each of the last intervals, for the rate's line.
CREATE TABLE point (holder INTEGER NOT NULL, "end" INTEGER NOT NULL, start INTEGER NOT NULL, processes INTEGER NOT NULL,
    PRIMARY KEY (holder, "end")) WITHOUT ROWID;

-- Forks as they were sent, but for their subject. Ids grow with arrival, so the oldest are the lowest.
CREATE TABLE fork (id INTEGER PRIMARY KEY, holder INTEGER NOT NULL, subject INTEGER NOT NULL, time INTEGER NOT NULL,
    received INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX fork_latest ON fork (holder, time);

CREATE TABLE gap (id TEXT PRIMARY KEY, stream INTEGER NOT NULL, cluster TEXT NOT NULL, node TEXT NOT NULL, pod INTEGER,
    holder INTEGER, missing TEXT NOT NULL, reason TEXT NOT NULL, sink TEXT, count INTEGER NOT NULL, start INTEGER NOT NULL,
    "end" INTEGER NOT NULL, received INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX gap_received ON gap (received);
CREATE INDEX gap_holder ON gap (holder);
CREATE INDEX gap_pod ON gap (pod);

-- Each stream's newest word about its node.
CREATE TABLE node (stream INTEGER PRIMARY KEY, cluster TEXT NOT NULL, node TEXT NOT NULL, start INTEGER NOT NULL,
    "end" INTEGER NOT NULL, number INTEGER NOT NULL, received INTEGER NOT NULL, body BLOB NOT NULL);
"""

_LEDGER_AND_STORMS: Final = f"""
-- Whose a stream is, what its agent calls us, and the forks that this sink had taken when we first heard a heartbeat of it.
ALTER TABLE stream ADD COLUMN cluster TEXT NOT NULL DEFAULT '';
ALTER TABLE stream ADD COLUMN node TEXT NOT NULL DEFAULT '';
ALTER TABLE stream ADD COLUMN sink TEXT;
ALTER TABLE stream ADD COLUMN before INTEGER NOT NULL DEFAULT 0;
UPDATE stream SET (cluster, node) = (SELECT h.cluster, h.node FROM holder h WHERE h.stream = stream.id)
    WHERE id IN (SELECT stream FROM holder);

-- How many numbers each CPU has given out, by the newest heartbeat.
CREATE TABLE head (stream INTEGER NOT NULL, cpu INTEGER NOT NULL, given INTEGER NOT NULL,
    PRIMARY KEY (stream, cpu)) WITHOUT ROWID;
INSERT INTO head SELECT n.stream, CAST(h.key AS INTEGER), h.value FROM node n, json_each(CAST(n.body AS TEXT), '$.heads') h;

ALTER TABLE node ADD COLUMN captured INTEGER NOT NULL DEFAULT 0;
UPDATE node SET captured = json_extract(CAST(body AS TEXT), '$.ledger.captured');

-- The sums of gaps, which outlive them: a hole is explained for as long as its stream is known. 0 stands for no pod and for no
-- holder (both: of a whole node), -1 for one that is forgotten, '' for all sinks. `told`: the sum of the gaps that came;
-- `by_now`: the most that one of them says the sum is.
CREATE TABLE loss (stream INTEGER NOT NULL, pod INTEGER NOT NULL, holder INTEGER NOT NULL, missing TEXT NOT NULL,
    reason TEXT NOT NULL, sink TEXT NOT NULL, told INTEGER NOT NULL, by_now INTEGER NOT NULL,
    PRIMARY KEY (stream, pod, holder, missing, reason, sink)) WITHOUT ROWID;
UPDATE gap SET holder = (SELECT id FROM holder h WHERE h.stream = gap.stream AND h.cgroup = {HOST}) -- there were no others
    WHERE pod IS NULL AND holder IS NULL;
INSERT INTO loss SELECT stream, ifnull(pod, 0), ifnull(holder, 0), missing, reason, ifnull(sink, ''), sum(count), 0 FROM gap
    GROUP BY 1, 2, 3, 4, 5, 6;
CREATE INDEX gap_node ON gap (cluster, node, "end") WHERE pod IS NULL AND holder IS NULL;

-- `pod` is whose it is as far as is known (rank); `cgroup` is the pod's own.
CREATE TABLE storm (stream INTEGER NOT NULL, cgroup INTEGER NOT NULL, number INTEGER NOT NULL, pod INTEGER NOT NULL,
    rank INTEGER NOT NULL, cluster TEXT NOT NULL, node TEXT NOT NULL, is_over INTEGER NOT NULL, most INTEGER NOT NULL,
    hold INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, received INTEGER NOT NULL, {_TALLY},
    PRIMARY KEY (stream, cgroup, number)) WITHOUT ROWID;
CREATE INDEX storm_pod ON storm (pod, start);
"""  # noqa: S608 - our own column names

# Version n of the tables is what the first n of these make; which one a file has is kept in SQLite's user_version.
STEPS: Final = (_FIRST, _LEDGER_AND_STORMS)
VERSION: Final = len(STEPS)


class Stale(Exception):
    """The file is no store of this version."""


def open_connection(path: str) -> sqlite3.Connection:
    """A connection for one thread at a time, on a file or `:memory:`; transactions are begun by hand. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10, cached_statements=256)
    # WAL: readers and the writer do not wait for each other. synchronous=NORMAL: a commit is in the kernel's page cache when
    # it returns, so it outlives the death of this process (kill -9 too); only a power cut can take the last moments back,
    # and never half a batch. FULL would fsync every batch.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA journal_size_limit = 67108864")  # bytes: the WAL is cut back to 64 MiB after a rush
    connection.execute("PRAGMA cache_size = -32768")  # KiB
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def prepare(connection: sqlite3.Connection) -> None:
    """Makes the tables, or brings those of an older version up to this one. Raises `Stale` for a file of someone else's or of a
    newer version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return
    if version > VERSION or (not version and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]):
        raise Stale(f"holds tables of version {version}, this collector keeps version {VERSION}")
    connection.execute("BEGIN IMMEDIATE")
    for step in STEPS[version:]:
        for statement in step.split(";\n"):
            if statement.strip():
                connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
