"""Writing: one checked batch into the tables, in one transaction, each event once.

Must not live here: reading for the views (`reading`), deleting what is old (`sweeping`), threads.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, NamedTuple

from collector.fields import MAX_AMOUNT
from collector.rows import (
    HOST,
    CheckedFork,
    CheckedGap,
    CheckedLines,
    CheckedNode,
    CheckedStorm,
    CheckedSummary,
    Subject,
    Tally,
)
from collector.runs import runs_of, united, without

__all__ = ["Filed", "file_lines"]


class Filed(NamedTuple):
    """Events: new ones, and ones that had come before."""

    accepted: int
    duplicate: int


class _Group:
    """What a batch's new forks say of one holder, gathered so that the holder is written once."""

    __slots__ = ("count", "first", "last", "parents", "rank", "said", "subject")

    def __init__(self, fork: CheckedFork) -> None:
        self.count, self.first, self.last = 0, fork.time, fork.time
        self.rank, self.said, self.subject = fork.rank, fork.time, fork.subject
        self.parents: Counter[str | None] = Counter()


_TALLIES: Final = [f"{prefix}_{name}" for prefix in ("counts", "totals") for name in Tally._fields]
_SET: Final = ", ".join(f"{column} = ?" for column in _TALLIES)
# Totals only grow, so the greatest are the newest: neither a clock that was set back nor a summary that comes late can hide
# them. Where nothing was forked in between, the time decides, and the number.
_SUMMED: Final = "totals_processes + totals_threads + totals_entered"


def file_lines(connection: sqlite3.Connection, lines: CheckedLines, received: int, sink: str | None = None) -> Filed:
    """All of the batch or nothing of it. `received`: now, in ns. `sink`: what the sender calls us. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        filing = _Filing(connection, received, sink)
        accepted = filing.forks(lines.forks)
        accepted += filing.summaries(lines.summaries)
        accepted += filing.nodes(lines.nodes)
        accepted += filing.gaps(lines.gaps)
        accepted += filing.storms(lines.storms)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return Filed(accepted, len(lines) - len(lines.refused) - accepted)


class _Filing:
    """One batch on its way in; remembers the row numbers that it has looked up."""

    def __init__(self, connection: sqlite3.Connection, received: int, sink: str | None) -> None:
        self.db = connection
        self.received = received
        self.sink = sink
        self.stream_ids: dict[str, int] = {}
        self.subject_ids: dict[Subject, int] = {}
        self.holder_ids: dict[tuple[int, int], int] = {}

    def forks(self, forks: list[CheckedFork]) -> int:
        fresh = self._fresh(forks)
        groups: dict[tuple[int, int], _Group] = {}
        keys: list[tuple[int, int]] = []
        for fork in fresh:
            key = (self._stream(fork.stream, fork.subject), fork.holder)
            keys.append(key)
            group = groups.get(key)
            if group is None:
                group = groups[key] = _Group(fork)
            group.first, group.last = min(group.first, fork.time), max(group.last, fork.time)
            counted = group
            if fork.made_by is not None:
                host = (key[0], HOST)
                counted = groups.get(host) or groups.setdefault(host, _Group(fork._replace(subject=fork.made_by, rank=0)))
            counted.count += 1
            if fork.is_process:
                counted.parents[fork.parent_comm] += 1
            if fork.subject is not group.subject and (fork.rank, fork.time) >= (group.rank, group.said):
                group.rank, group.said, group.subject = fork.rank, fork.time, fork.subject
        for (stream, cgroup), group in groups.items():
            holder = self._holder(stream, cgroup, group.subject, group.rank, group.said, group.first, group.last)
            self.db.execute("UPDATE holder SET filed = filed + ? WHERE id = ?", (group.count, holder))
            self.db.executemany(
                "INSERT INTO parent VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET forks = forks + excluded.forks",
                [(holder, comm or "", comm is not None, n) for comm, n in group.parents.items()],
            )
        self.db.executemany(
            "INSERT INTO fork (holder, subject, time, received, body) VALUES (?, ?, ?, ?, ?)",
            [
                (self.holder_ids[key], self._subject(fork.subject), fork.time, self.received, fork.body)
                for key, fork in zip(keys, fresh, strict=True)
            ],
        )
        return len(fresh)

    def _fresh(self, forks: list[CheckedFork]) -> list[CheckedFork]:
        """Those that have not come before, neither in an earlier batch nor in this one; the runs now hold them."""
        by_cpu: dict[tuple[str, int], dict[int, CheckedFork]] = {}
        for fork in forks:
            by_cpu.setdefault((fork.stream, fork.cpu), {}).setdefault(fork.sequence, fork)
        fresh: list[CheckedFork] = []
        for (name, cpu), by_sequence in by_cpu.items():
            stream = self._stream(name, next(iter(by_sequence.values())).subject)
            for run in runs_of(by_sequence):
                # The last run that begins at or before ours, and those that begin within it or right after it.
                near = self.db.execute(
                    "SELECT first, last FROM run WHERE stream = :stream AND cpu = :cpu AND first <= :last + 1 "
                    "AND first >= ifnull((SELECT max(first) FROM run WHERE stream = :stream AND cpu = :cpu "
                    "AND first <= :first), 0) ORDER BY first",
                    {"stream": stream, "cpu": cpu, "first": run[0], "last": run[1]},
                ).fetchall()
                touching = [known for known in near if known[1] >= run[0] - 1]
                new = without(run, touching)
                if not new:
                    continue
                fresh.extend(by_sequence[sequence] for first, last in new for sequence in range(first, last + 1))
                self.db.executemany(
                    "DELETE FROM run WHERE stream = ? AND cpu = ? AND first = ?",
                    [(stream, cpu, known[0]) for known in touching],
                )
                self.db.execute("INSERT INTO run VALUES (?, ?, ?, ?)", (stream, cpu, *united(run, touching)))
        return fresh

    def summaries(self, summaries: list[CheckedSummary]) -> int:
        accepted = 0
        for said in summaries:
            if not self._told(said.id):
                continue
            accepted += 1
            stream = self._stream(said.stream, said.subject)
            holder = self._holder(stream, said.holder, said.subject, said.rank, said.time, said.end, said.end)
            newest = (said.totals.processes + said.totals.threads + said.totals.entered, said.end, said.number)
            self.db.execute(
                f'UPDATE holder SET start = ?, "end" = ?, number = ?, received = ?, {_SET} '  # noqa: S608 - our own column names
                f'WHERE id = ? AND ("end" IS NULL OR ({_SUMMED}, "end", number) <= (?, ?, ?))',
                (said.start, said.end, said.number, self.received, *said.counts, *said.totals, holder, *newest),
            )
            self.db.execute(
                "INSERT INTO point VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET processes = max(processes, "
                "excluded.processes)",
                (holder, said.end, said.start, said.counts.processes),
            )
        return accepted

    def nodes(self, nodes: list[CheckedNode]) -> int:
        accepted = 0
        for said in nodes:
            if not self._told(said.id):
                continue
            accepted += 1
            stream = self._stream(said.stream, said)
            self._hear(stream, said)
            self.db.execute(
                'INSERT INTO node (stream, cluster, node, start, "end", number, captured, received, body) '
                'VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET cluster = excluded.cluster, '
                'node = excluded.node, start = excluded.start, "end" = excluded."end", '
                "number = excluded.number, captured = excluded.captured, received = excluded.received, body = excluded.body "
                'WHERE (node.captured, node."end", node.number) <= (excluded.captured, excluded."end", excluded.number)',
                (
                    stream, said.cluster, said.node, said.start, said.end, said.number, said.captured,
                    self.received, said.body,
                ),
            )  # fmt: skip
            self.db.executemany(
                "INSERT INTO head VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET given = max(given, excluded.given)",
                [(stream, cpu, given) for cpu, given in said.heads.items()],
            )
        return accepted

    def _hear(self, stream: int, said: CheckedNode) -> None:
        """Which of the agent's sinks we are, where it said no more than its only one's name; and, the first time, what it had
        delivered to that sink before we knew of the stream: it went to another store, and is not missing in this one."""
        if len(said.delivered) == 1:
            self.db.execute("UPDATE stream SET sink = ifnull(sink, ?) WHERE id = ?", (*said.delivered, stream))
        (sink,) = self.db.execute("SELECT sink FROM stream WHERE id = ?", (stream,)).fetchone()
        self.db.execute(
            "UPDATE stream SET before = max(0, ? - (SELECT ifnull(sum(last - first + 1), 0) FROM run r "
            "WHERE r.stream = stream.id)) WHERE id = ? AND id NOT IN (SELECT stream FROM node)",
            (said.delivered.get(sink, 0), stream),
        )

    def gaps(self, gaps: list[CheckedGap]) -> int:
        accepted = 0
        for said in gaps:
            if not self._told(said.id):
                continue
            accepted += 1
            stream, subject = self._stream(said.stream, said.subject), said.subject
            holder = pod = None
            if said.holder is not None:
                holder = self._holder(stream, said.holder, subject, said.rank, said.time, said.end, said.end)
            elif subject.pod_uid is not None:
                pod = self._pod(subject, said.end, said.end)
            self.db.execute(
                "INSERT OR IGNORE INTO gap VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    said.id, stream, subject.cluster, subject.node, pod, holder,
                    said.missing, said.reason, said.sink, said.amount, said.start, said.end, self.received,
                ),
            )  # fmt: skip
            self.db.execute(
                "INSERT INTO loss VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "told = min(told + excluded.told, ?), by_now = max(by_now, excluded.by_now)",
                (
                    stream, pod or 0, holder or 0, said.missing, said.reason, said.sink or "", said.amount, said.by_now,
                    MAX_AMOUNT,
                ),
            )  # fmt: skip
        return accepted

    def storms(self, storms: list[CheckedStorm]) -> int:
        accepted = 0
        for said in storms:
            if not self._told(said.id):
                continue
            accepted += 1
            key = (self._stream(said.stream, said.subject), said.cgroup, said.number)
            pod = self._pod(said.subject, said.start, said.end)
            # A stop holds all that its start said, so a start that comes after it changes nothing.
            self.db.execute(
                f'INSERT INTO storm (stream, cgroup, number, pod, rank, cluster, node, is_over, most, hold, start, "end", '  # noqa: S608
                f"received, {', '.join(_TALLIES)}) VALUES ({', '.join('?' * (13 + len(_TALLIES)))}) ON CONFLICT DO UPDATE SET "
                'is_over = excluded.is_over, most = excluded.most, hold = excluded.hold, start = excluded.start, "end" = '
                f'excluded."end", {", ".join(f"{column} = excluded.{column}" for column in _TALLIES)} '
                'WHERE (is_over, "end") <= (excluded.is_over, excluded."end")',
                (
                    *key, pod, said.rank, said.subject.cluster, said.subject.node, said.is_over, said.limit, said.hold,
                    said.start, said.end, self.received, *said.counts, *said.totals,
                ),
            )  # fmt: skip
            self.db.execute(
                "UPDATE storm SET pod = ?, rank = ?, received = ? WHERE (stream, cgroup, number) = (?, ?, ?) AND rank <= ?",
                (pod, said.rank, self.received, *key, said.rank),
            )
        return accepted

    def _told(self, name: str) -> bool:
        """True the first time."""
        digest = blake2b(name.encode(), digest_size=16).digest()
        return self.db.execute("INSERT OR IGNORE INTO told VALUES (?, ?)", (digest, self.received)).rowcount == 1

    def _stream(self, name: str, whose: Subject | CheckedNode) -> int:
        known = self.stream_ids.get(name)
        if known is None:
            known = self.stream_ids[name] = self._id(
                "INSERT INTO stream (name, seen, cluster, node, sink) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "seen = excluded.seen, sink = ifnull(excluded.sink, sink) RETURNING id",
                (name, self.received, whose.cluster, whose.node, self.sink),
            )
        return known

    def _subject(self, subject: Subject) -> int:
        known = self.subject_ids.get(subject)
        if known is None:
            known = self.subject_ids[subject] = self._id(
                "INSERT INTO subject (digest, seen, body) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET seen = excluded.seen RETURNING id",
                (blake2b(subject.body, digest_size=16).digest(), self.received, subject.body),
            )
        return known

    def _holder(self, stream: int, cgroup: int, subject: Subject, rank: int, said: int, first: int, last: int) -> int:
        """The holder's row, now knowing whose it is as well as the best that was ever said of it."""
        pod = None
        if subject.pod_uid is not None or (rank < 2 and cgroup >= 0):
            pod = self._pod(subject, first, last)
        row = (stream, cgroup, pod, subject.cluster, subject.node, self._subject(subject), rank, said)
        holder = self.holder_ids[stream, cgroup] = self._id(
            "INSERT INTO holder (stream, cgroup, pod, cluster, node, subject, rank, said, seen, first_seen, last_seen) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET seen = excluded.seen, "
            "first_seen = min(first_seen, excluded.first_seen), last_seen = max(last_seen, excluded.last_seen) RETURNING id",
            (*row, self.received, first, last),
        )
        self.db.execute(
            "UPDATE holder SET pod = ?, cluster = ?, node = ?, subject = ?, rank = ?, said = ? "
            "WHERE id = ? AND (rank, said) <= (?, ?)",
            (*row[2:], holder, rank, said),
        )
        return holder

    def _pod(self, subject: Subject, first: int, last: int) -> int:
        own = subject.pod_uid if subject.pod_uid is not None else f"{subject.node}/cgroup-{subject.cgroup}"
        return self._id(
            "INSERT INTO pod (key, cluster, node, namespace, name, uid, first_seen, last_seen) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET namespace = ifnull(excluded.namespace, namespace), name = ifnull(excluded.name, name), "
            "first_seen = min(first_seen, excluded.first_seen), last_seen = max(last_seen, excluded.last_seen) RETURNING id",
            (
                f"{subject.cluster}/{own}", subject.cluster, subject.node, subject.namespace, subject.pod, subject.pod_uid,
                first, last,
            ),
        )  # fmt: skip

    def _id(self, statement: str, values: Iterable[object]) -> int:
        return int(self.db.execute(statement, tuple(values)).fetchone()[0])
