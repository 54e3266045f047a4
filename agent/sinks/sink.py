"""One sink: encoder + packer + queue + sender, and what becomes of what it was given.

Must not live here: a second sink's anything.
"""

from __future__ import annotations

import logging
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from agent.interfaces import StateReader, StateWriter
from agent.ledger import Account
from agent.model import NOBODY, Attribution, Batch, Event, Fork
from agent.sinks.delivery.sender import Sender
from agent.sinks.encoders.encoder import Encoder, Item
from agent.sinks.framing import Framing
from agent.sinks.packer import Packer
from agent.state_records import OPEN_BATCHES, SINK_FORMATS, OpenBatchRecord, SinkFormatRecord
from wire.events import FORK

__all__ = ["Choice", "Queue", "Sink"]

log = logging.getLogger(__name__)


class Queue(Protocol):
    """The journal's side that keeps batches, of one sink."""

    bytes: int

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def put(self, batch: Batch) -> None: ...

    def lose(self, entries: Sequence[Any], reason: str) -> None: ...

    def oldest(self) -> float | None: ...

    def forks_of(self, stream: str) -> int: ...

    async def empty(self) -> None: ...


class Choice(Protocol):
    """What an operator wants to have there, and what not."""

    selects_all_attributions: bool

    def selects_attribution(self, attribution: Attribution) -> bool: ...

    def selects_kind(self, kind: str) -> bool: ...

    def selects_event(self, event: Event) -> bool: ...


class Sink:
    """`account`: the sink's account of a stream. `form`: what its bodies are like. `events`, `size`: a batch's most;
    `wait_s`: how long an item may wait for
    others
    to fill its batch. Times are of the wall clock, seconds."""

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        framing: Framing[Any],
        packer: Packer,
        queue: Queue,
        sender: Sender,
        account: Callable[[str], Account],
        choice: Choice,
        *,
        form: str,
        events: int,
        size: int,
        wait_s: float,
    ) -> None:
        self.name = name
        self.queue = queue
        self.sender = sender
        self.account = account
        self._encoder = encoder
        self._framing = framing
        self._packer = packer
        self._choice = choice
        self._format = SinkFormatRecord(form)
        self._events = events
        self._size = size
        self._wait_s = wait_s
        self._stream = ""
        self._items: list[Item] = []
        self._cgroups = array("Q")
        self._bytes = 0
        self._opened = 0.0
        self._saved = 0  # how many of the open items the journal has been given

    def queued(self, stream: str) -> int:
        """Forks of the stream that lie here or in the queue."""
        here = len(self._cgroups) - self._cgroups.count(NOBODY) if stream == self._stream else 0
        return here + self.queue.forks_of(stream)

    def lag(self, now: float) -> float:
        """Seconds that the oldest item has been waiting here; 0 when there is none."""
        since = self.queue.oldest() or (self._opened if self._items else None)
        return 0.0 if since is None else max(0.0, now - since)

    def emit_forks(self, stream: str, forks: Sequence[Fork], now: float) -> None:
        chosen: Sequence[Fork] = ()
        if self._choice.selects_kind(FORK):
            selects = self._choice.selects_attribution
            chosen = forks if self._choice.selects_all_attributions else [fork for fork in forks if selects(fork.attribution)]
        if len(chosen) < len(forks):
            left_out = Counter(fork.counted for fork in forks)
            left_out.subtract(fork.counted for fork in chosen)
            self.account(stream).leave_out("select", +left_out)
        if chosen:
            self._add(stream, self._encoder.forks(stream, chosen), [fork.counted for fork in chosen], now)

    def emit_event(self, stream: str, event: Event, now: float) -> None:
        if self._choice.selects_event(event):
            self._add(stream, [self._encoder.event(event)], [NOBODY], now)

    def due(self, now: float) -> bool:
        """There are enough items for a batch, or they have waited long enough."""
        return bool(self._items) and (
            len(self._items) >= self._events or self._bytes >= self._size or not 0 <= now - self._opened < self._wait_s
        )

    def close(self) -> None:
        """What is open becomes batches."""
        for batch in self._packer.pack(self._stream, self._items, self._cgroups, self._opened) if self._items else ():
            self.queue.put(batch)
        self._items, self._cgroups, self._bytes = [], array("Q"), 0

    def stage(self, journal: StateWriter, now: float, *, everything: bool = False) -> None:
        """Before a commit: what is due becomes batches, what is not is saved as it is."""
        if self.due(now):
            self.close()
        if everything:
            journal.put(SINK_FORMATS, self.name, self._format.encode())
        if everything or len(self._items) != self._saved:
            journal.put(OPEN_BATCHES, self.name, self._open_batch().encode() if self._items else None)
            self._saved = len(self._items)

    def restore(self, journal: StateReader) -> None:
        """Goes on with the batch that the agent before had open.

        If that agent wrote bodies of another format, they can be neither sent nor taken apart: they are counted as lost.
        """
        form, state = journal.table(SINK_FORMATS).get(self.name), journal.table(OPEN_BATCHES).get(self.name)
        changed = form is not None and SinkFormatRecord.decode(form) != self._format
        if changed:
            log.error("sink %s: its protocol, schema, framing or compression changed: what was left in the old goes", self.name)
            self.queue.lose([*self.queue], "sink_changed")
        if state is None:
            return
        batch = OpenBatchRecord.decode(state)
        if changed:
            forks = Counter(batch.cgroups)
            forks.pop(NOBODY, None)
            self.account(batch.stream).lose("sink_changed", forks)
        else:
            self._add(batch.stream, self._framing.items(batch.body), batch.cgroups, batch.opened)
        self._saved = len(batch.cgroups)  # or the journal would go on holding as open what has become a batch

    def _open_batch(self) -> OpenBatchRecord:
        # A framing may want them in another order, and what is read back is in that order.
        order = self._framing.order(self._items) or range(len(self._items))
        items, cgroups = [self._items[at] for at in order], array("Q", (self._cgroups[at] for at in order))
        return OpenBatchRecord(self._opened, self._stream, cgroups, self._framing.body(items))

    def _add(self, stream: str, items: Sequence[Item], cgroups: Sequence[int], now: float) -> None:
        if not items:
            return
        if stream != self._stream:
            self.close()
            self._stream = stream
        if not self._items:
            self._opened = now
        self._items += items
        self._cgroups.extend(cgroups)
        self._bytes += sum(map(self._framing.size, items))
