"""Sinks that came into the settings, or went out of them, since the agent before: where their accounts begin and end."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from agent.interfaces import AccountStore, StateStore
from agent.model import NO_CGROUP
from agent.program_instance import ProgramInstance
from agent.sinks.sink import Sink
from agent.state_records import GAPS, OPEN_BATCHES, SINK_FORMATS, OpenBatchRecord

__all__ = ["SinkStore", "begin_new_sinks", "end_removed_sinks"]

log = logging.getLogger(__name__)


class SinkStore(StateStore, AccountStore, Protocol):
    """The journal, as far as changes of the sinks need it."""


def begin_new_sinks(journal: SinkStore, sinks: Sequence[Sink], instances: Sequence[ProgramInstance]) -> None:
    """A sink that the agent before did not have gets what is emitted from now on. To be called when the instances have been
    restored, before the first turn."""
    known = journal.table(SINK_FORMATS)
    for sink in sinks:
        if sink.name not in known and (before := sum(sink.begin(one.stream, one.emitted) for one in instances)):
            log.info("sink %s begins now: %d forks that were captured before are not sent to it", sink.name, before)


def end_removed_sinks(journal: SinkStore, sinks: Sequence[Sink]) -> None:
    """What was open for a sink that is no longer in the settings is lost, as its batches are (`Journal.removed`). Should the
    sink come back, it is a new one."""
    for name in journal.table(SINK_FORMATS).keys() - {sink.name for sink in sinks}:
        if raw := journal.table(OPEN_BATCHES).get(name):
            record = OpenBatchRecord.decode(raw)
            forks = Counter(record.cgroups)
            forks.pop(NO_CGROUP, None)
            journal.account(record.stream, str(name)).lose("sink_removed", forks)
        for table in (SINK_FORMATS, OPEN_BATCHES, GAPS):
            journal.put(table, name, None)
