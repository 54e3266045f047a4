"""Forgetting: what is older than the retention leaves, a little at a time so that a batch never waits long.

Must not live here: when it is done (`server`), what retention is (`settings`).
"""

from __future__ import annotations

import sqlite3
from typing import Final

from collector.fields import MAX_AMOUNT

__all__ = ["sweep_forks", "sweep_rest"]

FORKS_AT_ONCE: Final = 5000  # some 50 ms of the writer's time
COMMS_KEPT: Final = 1000  # per holder: a pod that gives every process a name of its own must not grow the table for ever
POINTS_KEPT: Final = 3_600_000_000_000  # ns
_SUM: Final = f"CAST(min(total(max(told, by_now)), {MAX_AMOUNT}) AS INTEGER)"  # `sum` ends in an error when it gets too large
_ORPHANED: Final = (
    "(holder > 0 AND holder NOT IN (SELECT id FROM holder)) OR (holder = 0 AND pod > 0 AND pod NOT IN (SELECT id FROM pod))"
)
_FORGET_WHOSE: Final = (
    f"INSERT INTO loss SELECT stream, -1, -1, missing, reason, sink, {_SUM}, 0 FROM loss WHERE {_ORPHANED} "  # noqa: S608
    f"GROUP BY 1, 4, 5, 6 ON CONFLICT DO UPDATE SET told = min(told + excluded.told, {MAX_AMOUNT})"
)


def sweep_forks(db: sqlite3.Connection, before: int) -> int:
    """Deletes up to `FORKS_AT_ONCE` forks received before `before` (ns), oldest first; how many."""
    db.execute("BEGIN IMMEDIATE")
    try:
        (last,) = db.execute(
            "SELECT max(id) FROM (SELECT id, received FROM fork ORDER BY id LIMIT ?) WHERE received < ?",
            (FORKS_AT_ONCE, before),
        ).fetchone()
        deleted = 0 if last is None else db.execute("DELETE FROM fork WHERE id <= ?", (last,)).rowcount
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return deleted


def sweep_rest(db: sqlite3.Connection, before: int, now: int) -> None:
    """Deletes everything else that no one spoke of since `before`; the forks must have gone first."""
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in (
            "DELETE FROM gap WHERE received < :before",
            "DELETE FROM told WHERE received < :before",
            "DELETE FROM storm WHERE received < :before",
            "DELETE FROM holder WHERE seen < :before",
            "DELETE FROM parent WHERE holder NOT IN (SELECT id FROM holder)",
            'DELETE FROM point WHERE "end" < :points OR holder NOT IN (SELECT id FROM holder)',
            "DELETE FROM node WHERE received < :before",
            "DELETE FROM run WHERE stream IN (SELECT id FROM stream WHERE seen < :before)",
            "DELETE FROM head WHERE stream IN (SELECT id FROM stream WHERE seen < :before)",
            "DELETE FROM loss WHERE stream IN (SELECT id FROM stream WHERE seen < :before)",
            "DELETE FROM stream WHERE seen < :before",
            "DELETE FROM subject WHERE seen < :before",
            "DELETE FROM pod WHERE id NOT IN (SELECT pod FROM holder WHERE pod IS NOT NULL) "
            "AND id NOT IN (SELECT pod FROM gap WHERE pod IS NOT NULL) AND id NOT IN (SELECT pod FROM storm)",
            # Whose a loss was is forgotten with them, that it was not; their row numbers may come again.
            _FORGET_WHOSE,
            f"DELETE FROM loss WHERE {_ORPHANED}",  # noqa: S608
        ):
            db.execute(statement, {"before": before, "points": now - POINTS_KEPT})
        db.execute(
            "DELETE FROM parent WHERE (holder, comm, known) IN (SELECT holder, comm, known FROM (SELECT holder, comm, known, "
            "row_number() OVER (PARTITION BY holder ORDER BY forks DESC) AS place FROM parent) WHERE place > ?)",
            (COMMS_KEPT,),
        )
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
