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
from agent.sinks.formats import FormatSpec, SinkFormat, sink_format
from agent.sinks.packer import Packer
from agent.sinks.selection import Selection
from agent.sinks.sink import Sink

__all__ = ["build_destination", "build_sink", "build_sink_format", "requested_annotations", "serve_status"]


def requested_annotations(sinks: Sequence[SinkSettings]) -> tuple[str, ...]:
    """Those that any sink wants."""
    return tuple(dict.fromkeys(key for sink in sinks for key in sink.annotations))


class Reports(status.Reports, metrics.Reports, Protocol):
    """All that the endpoints ask for."""


async def serve_status(reports: Reports, settings: Settings) -> web.AppRunner:
    """Whoever calls ends it by its `cleanup`. Raises OSError: the port is taken."""
    pods = settings.metrics.pods
    exposition = metrics.Exposition(reports, pods.most if pods.enabled else 0)
    return await status.serving(status.status_app(reports, exposition, settings.status_token_file), settings.status)


def build_sink_format(given: SinkSettings, cluster: str, node: str, annotations: Sequence[str]) -> SinkFormat:
    """How the sink's receiver is spoken to. `annotations`: those that the agent keeps of pods."""
    same = given.model_dump(include=set(FormatSpec.__dataclass_fields__))
    return sink_format(FormatSpec(**{**same, "schema": given.schema_}), cluster, node, annotations)


def build_destination(given: SinkSettings, spoken: SinkFormat) -> Destination:
    files = {"ca_file": given.ca_file, "cert_file": given.cert_file, "key_file": given.key_file}
    return Destination(spoken.url, given.token_file, **files, proxy=given.proxy)


def build_sink(given: SinkSettings, journal: Journal, cluster: str, node: str, annotations: Sequence[str]) -> Sink:
    """`annotations`: those that the agent keeps of pods."""
    spoken = build_sink_format(given, cluster, node, annotations)
    packer = Packer(spoken.framing, given.compression, given.batch.events, given.batch.bytes)
    queue = journal.queue(given.name)
    destination = build_destination(given, spoken)
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
