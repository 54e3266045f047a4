"""From settings to what they are about: a sink, of whose parts this is the one place that knows all; the status endpoints.

Must not live here: what any part does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aiohttp import web

from agent.journal import Journal
from agent.reporting import metrics, status
from agent.settings import Settings, SinkSettings
from agent.sinks.delivery.connections import Destination
from agent.sinks.delivery.sender import Sender
from agent.sinks.formats import Form, Wanted, form
from agent.sinks.packer import Packer
from agent.sinks.selection import Selection
from agent.sinks.sink import Sink

__all__ = ["destination_of", "form_of", "kept_annotations", "serve_status", "sink_of"]


def kept_annotations(sinks: Sequence[SinkSettings]) -> tuple[str, ...]:
    """Those that any sink wants."""
    return tuple(dict.fromkeys(key for sink in sinks for key in sink.annotations))


class Reports(status.Reports, metrics.Reports, Protocol):
    """All that the endpoints ask for."""


async def serve_status(reports: Reports, settings: Settings) -> web.AppRunner:
    """Whoever calls ends it by its `cleanup`. Raises OSError: the port is taken."""
    pods = settings.metrics.pods
    exposition = metrics.Exposition(reports, pods.most if pods.enabled else 0)
    return await status.serving(status.status_app(reports, exposition, settings.status_token_file), settings.status)


def form_of(given: SinkSettings, cluster: str, node: str, annotations: Sequence[str]) -> Form:
    """How the sink's receiver is spoken to. `annotations`: those that the agent keeps of pods."""
    same = given.model_dump(include=set(Wanted.__dataclass_fields__))
    return form(Wanted(**{**same, "schema": given.schema_}), cluster, node, annotations)


def destination_of(given: SinkSettings, spoken: Form) -> Destination:
    files = {"ca_file": given.ca_file, "cert_file": given.cert_file, "key_file": given.key_file}
    return Destination(spoken.url, given.token_file, **files, proxy=given.proxy)


def sink_of(given: SinkSettings, journal: Journal, cluster: str, node: str, annotations: Sequence[str]) -> Sink:
    """`annotations`: those that the agent keeps of pods."""
    spoken = form_of(given, cluster, node, annotations)
    packer = Packer(spoken.framing, given.compression, given.batch.events, given.batch.bytes)
    queue = journal.queue(given.name)
    destination = destination_of(given, spoken)
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
