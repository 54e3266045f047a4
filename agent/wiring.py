"""From a sink's settings to the sink: the one place that knows all the parts of one.

Must not live here: what any part does.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.journal import Journal
from agent.settings import SinkSettings
from agent.sinks.bodies import Packer
from agent.sinks.connections import Destination
from agent.sinks.forms import Wanted, form
from agent.sinks.selection import Selection
from agent.sinks.sender import Sender
from agent.sinks.sink import Sink

__all__ = ["kept_annotations", "sink_of"]


def kept_annotations(sinks: Sequence[SinkSettings]) -> tuple[str, ...]:
    """Those that any sink wants."""
    return tuple(dict.fromkeys(key for sink in sinks for key in sink.annotations))


def sink_of(given: SinkSettings, journal: Journal, cluster: str, node: str, annotations: Sequence[str]) -> Sink:
    """`annotations`: those that the agent keeps of pods."""
    same = given.model_dump(include=set(Wanted.__dataclass_fields__))
    spoken = form(Wanted(**{**same, "schema": given.schema_}), cluster, node, annotations)
    packer = Packer(spoken.framing, given.compression, given.batch.events, given.batch.bytes)
    queue = journal.queue(given.name)
    files = {"ca_file": given.ca_file, "cert_file": given.cert_file, "key_file": given.key_file}
    destination = Destination(spoken.url, given.token_file, **files, proxy=given.proxy)
    select = given.select
    namespaces = select.namespaces
    choice = Selection(namespaces.include, namespaces.exclude, select.labels, host=select.host, kinds=select.events)
    return Sink(
        given.name,
        spoken.encoder,
        spoken.framing,
        packer,
        queue,
        Sender(given.name, destination, queue, packer, spoken),
        lambda stream: journal.account(stream, given.name),
        choice,
        form=f"{given.protocol} {given.schema_} {given.framing} {given.compression}",
        events=given.batch.events,
        size=given.batch.bytes,
        wait_s=given.batch.wait,
    )
