"""Builds objects from settings: a sink with all its parts, and the status endpoints."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from aiohttp import web

from agent.journal import Journal
from agent.model import NO_CGROUP, Batch
from agent.reporting import metrics, status
from agent.settings import Settings, SinkSettings
from agent.sinks.delivery.connections import Destination
from agent.sinks.delivery.sender import Sender
from agent.sinks.formats import FormatSpec, SinkFormat, make_format
from agent.sinks.open_batch import OpenBatch
from agent.sinks.packer import BatchLimits, Packer
from agent.sinks.selection import LabelRequirement, Selection
from agent.sinks.sink import Sink
from agent.sinks.test_event import make_test_event
from wire.http.certificate import ServerCertificate

__all__ = ["build_destination", "build_sink", "build_sink_format", "requested_annotations", "serve_status"]


def requested_annotations(sinks: Sequence[SinkSettings]) -> tuple[str, ...]:
    """The annotations that any sink sends, each once."""
    return tuple(dict.fromkeys(key for sink in sinks for key in sink.annotations))


class Reports(status.Reports, metrics.Reports, Protocol):
    """All that the status endpoints show."""


async def serve_status(reports: Reports, settings: Settings) -> web.AppRunner:
    """The caller stops it by its `cleanup`. Raises OSError: the port is in use; CertificateError."""
    pods, file = settings.metrics.pods, settings.status_cert_file
    certificate = ServerCertificate(file, settings.status_key_file) if file else None
    exposition = metrics.Exposition(reports, pods.most if pods.enabled else 0, certificate)
    app = status.status_app(reports, exposition, settings.status_token_file, certificate)
    return await status.serving(app, settings.status, certificate)


def build_sink_format(settings: SinkSettings, cluster: str, node: str, annotations: Sequence[str]) -> SinkFormat:
    """What the sink's requests look like. `annotations`: all that the agent keeps of pods, for this sink or another."""
    same = settings.model_dump(include=set(FormatSpec.__dataclass_fields__))
    return make_format(FormatSpec(**{**same, "schema": settings.schema_}), cluster, node, annotations)


def build_destination(settings: SinkSettings, sink_format: SinkFormat) -> Destination:
    """Where the sink's requests go."""
    files = {"ca_file": settings.ca_file, "cert_file": settings.cert_file, "key_file": settings.key_file}
    return Destination(sink_format.url, settings.token_file, **files, proxy=settings.proxy)


def build_sink(settings: SinkSettings, journal: Journal, cluster: str, node: str, annotations: Sequence[str]) -> Sink:
    """`annotations`: as for build_sink_format."""
    sink_format = build_sink_format(settings, cluster, node, annotations)
    batch = settings.batch
    packer = Packer(sink_format.framing, settings.compression, BatchLimits(batch.events, batch.bytes, batch.wait))
    queue = journal.queue(settings.name)

    def make_test_batch() -> Batch:
        event = make_test_event(settings.name, cluster, node, time.time_ns())
        return next(packer.pack(event["id"], [sink_format.encoder.event(event)], [NO_CGROUP], time.time()))

    sender = Sender(settings.name, build_destination(settings, sink_format), queue, packer, sink_format, make_test_batch)
    return Sink(settings.name, sink_format, _selection(settings), OpenBatch(packer), queue, sender, journal)


def _selection(settings: SinkSettings) -> Selection:
    select = settings.select
    labels = [LabelRequirement(*one) for one in select.labels]
    return Selection(select.namespaces.include, select.namespaces.exclude, labels, host=select.host, kinds=select.events)
