"""Who forked whom by name: parent comm -> child comm, by how often.

Pure. Must not live here: single processes (`lineage`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from collector.model import PairRow
from collector.views.times import stamp

__all__ = ["pairs_json"]


def pairs_json(rows: Iterable[PairRow]) -> list[dict[str, Any]]:
    """`child` null: it never forked itself, so nobody heard what it was called after its fork."""
    return [{**row._asdict(), "first": stamp(row.first), "last": stamp(row.last)} for row in rows]
