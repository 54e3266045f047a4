"""The ledger of all streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from collector.model import CpuRow, LedgerRows
from collector.query.ledger.conflicts import conflicts_of_streams
from collector.query.ledger.gaps import gaps_of_nodes
from collector.query.ledger.holes import holes_of
from collector.query.ledger.losses import losses_of_streams
from collector.query.ledger.received import Received, received
from collector.query.ledger.streams import StoredStream, node_row, stored_streams, stream_row
from collector.query.read_context import ReadContext
from collector.store.row_ids import stream_id

__all__ = ["read_ledger"]


def read_ledger(context: ReadContext, most_holes: int, *, by_cpu: bool) -> LedgerRows:
    """All streams, the newest first. `most_holes` of each stream."""
    stored = stored_streams(context)
    of_streams = received(context, by_cpu=by_cpu)
    streams = [stream_row(one, of_streams.get(one.name, {})) for one in stored]
    sinks = {stream.name: stream.sink for stream in streams}
    heads = {one.name: one.heads for one in stored}
    incomplete = [stream.name for stream in streams if (stream.given or 0) > stream.received] if most_holes else []
    return LedgerRows(
        [node_row(one) for one in stored if one.has_heartbeat],
        streams,
        losses_of_streams(context, sinks),
        gaps_of_nodes(context, sinks),
        holes_of(context, incomplete, heads, most_holes),
        [cpu for one in stored for cpu in _cpus(one, of_streams.get(one.name, {}))] if by_cpu else [],
        conflicts_of_streams(context),
    )


def _cpus(stream: StoredStream, of_cpus: Mapping[int, Received]) -> Iterator[CpuRow]:
    nothing = Received(0, 0)
    for cpu in sorted(stream.heads.keys() | of_cpus.keys()):
        yield CpuRow(stream_id(stream.name), cpu, stream.heads.get(cpu, 0), of_cpus.get(cpu, nothing).given_out)
