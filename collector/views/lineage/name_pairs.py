"""Parent comm -> child comm, by how often."""

from __future__ import annotations

from collections.abc import Iterable

from collector.model import PairRow
from collector.views.times import stamp
from wire.api import NamePair

__all__ = ["pairs_json"]


def pairs_json(rows: Iterable[PairRow]) -> list[NamePair]:
    return [
        {
            "parent": row.parent,
            "child": row.child,
            "forks": row.forks,
            "first": stamp(row.first),
            "last": stamp(row.last),
        }
        for row in rows
    ]
