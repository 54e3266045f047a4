"""Protocol and schema -> all that a sink needs to speak to its receiver: what an event looks like there, how events make a
body, where it goes, with which headers, and what the answer means. Pure.

A protocol is one case in `form`. Datadog (a JSON array of at most 1,000, `DD-API-KEY`), Sumo Logic (lines, headers of its own,
the secret in the URL) and CloudEvents (an envelope with `source` and `id`, `application/cloudevents-batch+json`) would be
three more: each with an envelope and a framing where it needs one, and a table of its answers. Which pairs make sense is for
the settings to say. Must not live here: requests, files, what a schema says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from agent.model import Batch
from agent.sinks.delivery.authorization import Authorization, authorization
from agent.sinks.delivery.responses import Outcome, elastic, http, otlp, splunk
from agent.sinks.encoders.ecs import EcsEncoder
from agent.sinks.encoders.encoder import Encoder
from agent.sinks.encoders.envelopes import BulkEnvelope, HecEnvelope
from agent.sinks.encoders.native import NativeEncoder
from agent.sinks.encoders.ocsf import OcsfEncoder
from agent.sinks.encoders.otel import OtelEncoder
from agent.sinks.framing import Framing
from agent.sinks.framing.json_array import JsonArray
from agent.sinks.framing.lines import Bulk, Hec, Ndjson
from agent.sinks.framing.otlp import Otlp
from agent.sinks.redaction import Allowed, Redacted, Without
from wire import VERSION
from wire.batch import BATCH_ID, SINK

__all__ = ["FormatSpec", "ResponseInterpreter", "SinkFormat", "sink_format"]

ResponseInterpreter = Callable[[int, Mapping[str, str], bytes, datetime, Batch], Outcome]
_DATA_STREAM: Final = "logs-forklore.process-default"
_BRIEF: Final = "filter_path=errors,items.*.status,items.*.error.type"  # else an answer is a third as long as its batch


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatSpec:
    """A sink as its settings have it; see there for what each means. `labels` None: all."""

    name: str
    url: str
    protocol: str = "http"
    schema: str = "native"
    framing: str = "ndjson"
    auth: str = "bearer"
    username: str | None = None
    token_header: str | None = None
    index: str | None = None
    source: str = "forklore"
    sourcetype: str | None = None
    data_stream: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    compression: str = "gzip"
    labels: Collection[str] | None = None
    annotations: Collection[str] = ()
    drop_fields: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class SinkFormat:
    """`headers`: of every POST. `named`: whether a batch's id is one of them. `authorization`: a token's text -> headers."""

    url: str
    encoder: Encoder
    framing: Framing[Any]
    interpret: ResponseInterpreter
    headers: Mapping[str, str]
    authorization: Authorization
    named: bool = False

    def request_headers(self, batch: Batch) -> dict[str, str]:
        """Without what opens the door."""
        return {**self.headers, BATCH_ID: batch.id} if self.named else dict(self.headers)


def sink_format(wanted: FormatSpec, cluster: str, node: str, kept: Collection[str] = ()) -> SinkFormat:
    """`kept`: the annotations that the agent keeps of pods, for this sink or for others."""

    def schema(data_stream: str | None = None) -> Encoder:
        return _schema(wanted, cluster, node, data_stream, kept)

    match wanted.protocol:
        case "splunk_hec":
            sourcetype = wanted.sourcetype or f"forklore:{wanted.schema}"
            envelope = HecEnvelope(schema(), node, wanted.source, sourcetype, wanted.index)
            return _form(wanted, _with_path(wanted.url, "/services/collector/event"), envelope, Hec(), splunk.interpret)
        case "elasticsearch":
            url, target, named_there = _bulk_url(wanted)
            bulk = BulkEnvelope(schema(None if wanted.index else target), None if named_there else target)
            return _form(wanted, url, bulk, Bulk(), elastic.interpret)
        case "otlp":
            return _form(wanted, _with_path(wanted.url, "/v1/logs"), schema(), Otlp(), otlp.interpret)
        case _:
            framing = JsonArray() if wanted.framing == "json" else Ndjson()
            return _form(wanted, wanted.url, schema(), framing, http.interpret, named=True)


def _form(
    wanted: FormatSpec,
    url: str,
    encoder: Encoder,
    framing: Framing[Any],
    interpret: ResponseInterpreter,
    *,
    named: bool = False,
) -> SinkFormat:
    ours = {"Content-Type": framing.content_type}
    if wanted.compression != "none":
        ours["Content-Encoding"] = wanted.compression
    if named:
        ours[SINK] = wanted.name
    theirs = {name.lower() for name in wanted.headers}
    headers = {name: value for name, value in ours.items() if name.lower() not in theirs} | dict(wanted.headers)
    show = authorization(wanted.auth, wanted.username, wanted.token_header)
    return SinkFormat(url, encoder, framing, interpret, headers, show, named)


def _schema(wanted: FormatSpec, cluster: str, node: str, data_stream: str | None, kept: Collection[str]) -> Encoder:
    """What is redacted, and in the order in which it costs least."""
    encoder: Encoder
    match wanted.schema:
        case "otel":
            encoder = OtelEncoder(cluster, node, wanted.drop_fields)
        case "ecs":
            encoder = EcsEncoder(cluster, node, VERSION, data_stream)
        case "ocsf":
            encoder = OcsfEncoder(cluster, node, VERSION)
        case _:
            encoder = NativeEncoder(cluster, node)
    if wanted.drop_fields and wanted.schema != "otel":  # whose fields are in no JSON
        encoder = Without(encoder, wanted.drop_fields)
    if wanted.labels is not None or not set(kept) <= set(wanted.annotations):
        encoder = Redacted(encoder, Allowed(wanted.labels), Allowed(wanted.annotations))
    return encoder


def _with_path(url: str, path: str, query: str = "") -> str:
    """The URL, with the path and the query when it has no path of its own."""
    parts = urlsplit(url)
    return url if parts.path not in ("", "/") else parts._replace(path=path, query=parts.query or query).geturl()


def _bulk_url(wanted: FormatSpec) -> tuple[str, str | None, bool]:
    """The URL, the data stream or index that documents go to, and whether the URL is what names it.

    A path is taken as it is: what stands before its `_bulk` may be an index or a proxy's own, so only what the settings name
    goes into each document's action.
    """
    chosen = wanted.index or wanted.data_stream
    parts = urlsplit(wanted.url)
    if parts.path in ("", "/"):
        chosen = chosen or _DATA_STREAM
        return _with_path(wanted.url, f"/{chosen}/_bulk", _BRIEF), chosen, True
    before, _, last = parts.path.rpartition("/")
    url = parts._replace(query=parts.query or _BRIEF).geturl() if last == "_bulk" else wanted.url
    return url, chosen or before.rpartition("/")[2] or None, chosen is None
