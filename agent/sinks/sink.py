"""One sink: selects and encodes forks and events, collects them in batches, and hands these to its queue; its sender ships
them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence

from agent.interfaces import AccountStore, BatchQueue, StateReader, StateWriter
from agent.ledger import BEFORE_SINK, Account
from agent.model import NO_CGROUP, Batch, Event, Fork
from agent.sinks.delivery.sender import Sender
from agent.sinks.formats import SinkFormat
from agent.sinks.gap_outbox import GapOutbox
from agent.sinks.open_batch import OpenBatch
from agent.sinks.selection import Selection
from agent.state_records import GAPS, OPEN_BATCHES, SINK_FORMATS, GapsRecord, OpenBatchRecord, SinkFormatRecord
from wire.events import FORK, GAP

__all__ = ["Sink"]

log = logging.getLogger(__name__)


class Sink:
    """Times are seconds of the wall clock."""

    def __init__(
        self,
        name: str,
        sink_format: SinkFormat,
        selection: Selection,
        open_batch: OpenBatch,
        queue: BatchQueue,
        sender: Sender,
        accounts: AccountStore,
    ) -> None:
        self.name = name
        self.queue = queue
        self.sender = sender
        self._format = sink_format
        self._format_record = SinkFormatRecord(sink_format.signature)
        self._selection = selection
        self._open = open_batch
        self._accounts = accounts
        self._gaps = GapOutbox()
        self._staged = 0  # how many items of the open batch the journal has

    def account(self, stream: str) -> Account:
        """What became of the stream's forks in this sink."""
        return self._accounts.account(stream, self.name)

    def begin(self, stream: str, emitted: int) -> int:
        """The account begins now, because the agent before did not have this sink. `emitted`: forks of the stream that other
        sinks were given. Returns how many of them this one will not get; they are counted as filtered{before_sink}."""
        account = self.account(stream)
        before = emitted - account.total - self.queued(stream)
        if before > 0:
            account.leave_out(BEFORE_SINK, {NO_CGROUP: before})
        return max(0, before)

    def queued(self, stream: str) -> int:
        """Forks of the stream in the open batch and in the queue."""
        return (self._open.forks if stream == self._open.stream else 0) + self.queue.forks_of(stream)

    @property
    def unaccepted_gaps(self) -> int:
        """Gaps that the receiver has not accepted yet."""
        return len(self._gaps)

    def lag(self, now: float) -> float:
        """Seconds that the oldest item has been waiting; 0 when there is none."""
        since = self.queue.oldest() or (self._open.opened if self._open else None)
        return 0.0 if since is None else max(0.0, now - since)

    def emit_forks(self, stream: str, forks: Sequence[Fork], now: float) -> None:
        """Adds the forks that the sink's settings select; the others are counted as filtered{select}."""
        selected: Sequence[Fork] = ()
        if self._selection.selects_kind(FORK):
            selects = self._selection.selects_attribution
            selected = forks if self._selection.selects_all_attributions else [one for one in forks if selects(one.attribution)]
        if len(selected) < len(forks):
            left_out = Counter(fork.counted for fork in forks)
            left_out.subtract(fork.counted for fork in selected)
            self.account(stream).leave_out("select", +left_out)
        if selected:
            items = self._format.encoder.forks(stream, selected)
            self._enqueue(self._open.add(stream, items, [fork.counted for fork in selected], now))

    def emit_event(self, stream: str, event: Event, now: float) -> None:
        """Adds an event of the agent itself, if the sink's settings select it."""
        if not self._selection.selects_event(event):
            return
        if event["event"] == GAP:
            self._gaps.add(stream, event)
        else:
            self._enqueue(self._open.add(stream, [self._format.encoder.event(event)], [NO_CGROUP], now))

    def due(self, now: float) -> bool:
        """The open batch is full, or has waited long enough."""
        return self._open.due(now)

    def close_batch(self) -> None:
        """Moves what is open into the queue."""
        self._enqueue(self._open.close())

    def stage(self, journal: StateWriter, now: float, *, everything: bool = False) -> None:
        """Before a commit: what is due becomes batches, and the rest is saved as it is."""
        if self.due(now):
            self.close_batch()
        self._send_gaps(now)
        if everything:
            journal.put(SINK_FORMATS, self.name, self._format_record.encode())
        if everything or self._gaps.changed:
            gaps = self._gaps.record()
            journal.put(GAPS, self.name, gaps and gaps.encode())
            self._gaps.changed = False
        if everything or len(self._open) != self._staged:
            record = self._open.record()
            journal.put(OPEN_BATCHES, self.name, record and record.encode())
            self._staged = len(self._open)

    def restore(self, journal: StateReader) -> None:
        """Goes on with the batch that the agent before had open.

        If that agent wrote bodies of another format, they can be neither sent nor split: they are counted as
        lost{sink_changed}.
        """
        if gaps := journal.table(GAPS).get(self.name):
            self._gaps.restore(GapsRecord.decode(gaps))
        before, state = journal.table(SINK_FORMATS).get(self.name), journal.table(OPEN_BATCHES).get(self.name)
        changed = before is not None and SinkFormatRecord.decode(before) != self._format_record
        if changed:
            log.error(
                "sink %s: protocol, schema, framing or compression was changed: %d batches in the old format are discarded"
                " and counted as lost{sink_changed}",
                self.name,
                len(self.queue),
            )
            self.queue.lose([*self.queue], "sink_changed")
        if state is None:
            return
        record = OpenBatchRecord.decode(state)
        if changed:
            forks = Counter(record.cgroups)
            forks.pop(NO_CGROUP, None)
            self.account(record.stream).lose("sink_changed", forks)
        else:
            self._enqueue(self._open.restore(record))
        self._staged = len(record.cgroups)  # else the journal would go on holding as open what has become a batch

    def _send_gaps(self, now: float) -> None:
        """In batches of their own, so that what becomes of them is known."""
        for stream, gaps, shipment in self._gaps.take():
            items = [self._format.encoder.event(gap) for gap in gaps]
            batches = [*self._open.packer.pack(stream, items, [NO_CGROUP] * len(items), now)]
            shipment.split(len(batches))
            for batch in batches:
                self.queue.put(batch, shipment)

    def _enqueue(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self.queue.put(batch)
