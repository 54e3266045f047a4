"""The streams: their newest heartbeats and how many numbers each CPU has given out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from collector.model import NodeRow, StreamRow
from collector.query.ledger.received import Received
from collector.query.read_context import ReadContext
from collector.store.row_ids import stream_id

__all__ = ["StoredStream", "node_row", "stored_streams", "stream_row"]

_MOST: Final = 2**63 - 1
_STATEMENT: Final = (
    "SELECT stream, max(newest) AS n, min(whose) AS w, max(said).2 AS said, min(only).2 AS only, min(before).2 "
    "FROM stream GROUP BY stream HAVING toUnixTimestamp64Nano(max(seen)) >= {since:Int64} "
    "ORDER BY if(n.captured < 0, -1, n.end) DESC, stream DESC"
)


class StoredStream(NamedTuple):
    """The mappings have the fields of `collector.store.newest`: `newest` of NewestHeartbeat, `node` of StreamNode. `sink`,
    `only_sink`: empty where unknown."""

    name: str
    newest: Mapping[str, Any]
    node: Mapping[str, Any]
    sink: str
    only_sink: str
    before: int

    @property
    def heads(self) -> dict[int, int]:
        """How many numbers each CPU has given out."""
        return {one["cpu"]: one["given"] for one in self.newest["heads"]}

    @property
    def has_heartbeat(self) -> bool:
        return bool(self.newest["captured"] >= 0)


def stored_streams(context: ReadContext) -> list[StoredStream]:
    """The one with the newest heartbeat first."""
    return context.rows(StoredStream, _STATEMENT)


def stream_row(stream: StoredStream, received: Mapping[int, Received]) -> StreamRow:
    """`received`: by CPU, or of all CPUs under one key."""
    node = stream.newest if stream.has_heartbeat else stream.node
    return StreamRow(
        stream_id(stream.name),
        stream.name,
        node["cluster"],
        node["node"],
        stream.sink or stream.only_sink or None,
        stream.before,
        min(sum(stream.heads.values()), _MOST) if stream.has_heartbeat else None,
        sum(one.given_out for one in received.values()),
        sum(one.in_all for one in received.values()),
    )


def node_row(stream: StoredStream) -> NodeRow:
    newest = stream.newest
    return NodeRow(
        stream_id(stream.name),
        newest["cluster"],
        newest["node"],
        newest["start"],
        newest["end"],
        newest["received"],
        newest["body"].encode(),
    )
