"""Combines protocol and schema into a sink's format: how events are encoded and framed, the requests' URL and headers, and what
a response means. Pure.

A protocol is one case in `make_format`. Datadog (a JSON array of at most 1,000, `DD-API-KEY`), Sumo Logic (lines, headers of
its own, the secret in the URL) and CloudEvents (an envelope with `source` and `id`, `application/cloudevents-batch+json`) would
be three more: each with an envelope and a framing where it needs one, and a module in `delivery.responses`. The settings decide
which pairs are allowed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Protocol, assert_never
from urllib.parse import urlsplit

from agent.model import Batch
from agent.sinks.delivery.authorization import Auth, Authorization, authorization
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
from agent.sinks.redaction import AllowedKeys, FieldDropper, PodRedactor
from wire import VERSION
from wire.batch import BATCH_ID, DELIVERED, SINK

__all__ = ["FormatSpec", "ResponseInterpreter", "SinkFormat", "make_format"]

_DATA_STREAM: Final = "logs-forklore.process-default"
# Makes responses short: without it they are a third as long as their batch.
_FILTER_PATH: Final = "filter_path=errors,items.*.status,items.*.error.type"


class ResponseInterpreter(Protocol):
    """What a response means for its batch. `now`: for a Retry-After header with a date."""

    def __call__(self, status: int, headers: Mapping[str, str], body: bytes, now: datetime, batch: Batch, /) -> Outcome: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatSpec:
    """A sink's settings, by the names that they have there (agent.settings.sinks). `labels` None: all."""

    name: str
    url: str
    protocol: Literal["http", "splunk_hec", "elasticsearch", "otlp"] = "http"
    schema: Literal["native", "ecs", "ocsf", "otel"] = "native"
    framing: Literal["ndjson", "json"] = "ndjson"
    auth: Auth = "bearer"
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
    """What a sink's requests look like, and what responses to them mean.

    `headers`: of every request. `with_batch_id`: whether a request has its batch's id, and what was delivered before,
    as headers. `authorization`: a token's
    text -> headers. `signature`: the journal's bodies can be sent as long as it is the same.
    """

    url: str
    encoder: Encoder
    framing: Framing[Any]
    interpret: ResponseInterpreter
    headers: Mapping[str, str]
    authorization: Authorization
    signature: str
    with_batch_id: bool = False

    def request_headers(self, batch: Batch, delivered: int) -> dict[str, str]:
        """Without authorization. `delivered`: forks of the batch's stream that the receiver has accepted before."""
        of_batch = {BATCH_ID: batch.id, DELIVERED: str(delivered)} if self.with_batch_id else {}
        return {**self.headers, **of_batch}


def make_format(spec: FormatSpec, cluster: str, node: str, annotations: Collection[str] = ()) -> SinkFormat:
    """`annotations`: all that the agent keeps of pods, for this sink or another."""

    def encoder(data_stream: str | None = None) -> Encoder:
        return _encoder(spec, cluster, node, data_stream, annotations)

    match spec.protocol:
        case "splunk_hec":
            sourcetype = spec.sourcetype or f"forklore:{spec.schema}"
            envelope = HecEnvelope(encoder(), node, spec.source, sourcetype, spec.index)
            return _sink_format(spec, _with_path(spec.url, "/services/collector/event"), envelope, Hec(), splunk.interpret)
        case "elasticsearch":
            url, target, in_url = _bulk_url(spec)
            bulk = BulkEnvelope(encoder(None if spec.index else target), None if in_url else target)
            return _sink_format(spec, url, bulk, Bulk(), elastic.interpret)
        case "otlp":
            return _sink_format(spec, _with_path(spec.url, "/v1/logs"), encoder(), Otlp(), otlp.interpret)
        case "http":
            framing = JsonArray() if spec.framing == "json" else Ndjson()
            return _sink_format(spec, spec.url, encoder(), framing, http.interpret, with_batch_id=True)
        case unknown:
            assert_never(unknown)


def _sink_format(
    spec: FormatSpec,
    url: str,
    encoder: Encoder,
    framing: Framing[Any],
    interpret: ResponseInterpreter,
    *,
    with_batch_id: bool = False,
) -> SinkFormat:
    own = {"Content-Type": framing.content_type}
    if spec.compression != "none":
        own["Content-Encoding"] = spec.compression
    if with_batch_id:
        own[SINK] = spec.name
    set_by_user = {name.lower() for name in spec.headers}
    headers = {name: value for name, value in own.items() if name.lower() not in set_by_user} | dict(spec.headers)
    auth = authorization(spec.auth, spec.username, spec.token_header)
    signature = f"{spec.protocol} {spec.schema} {spec.framing} {spec.compression}"
    return SinkFormat(url, encoder, framing, interpret, headers, auth, signature, with_batch_id)


def _encoder(spec: FormatSpec, cluster: str, node: str, data_stream: str | None, annotations: Collection[str]) -> Encoder:
    """The schema's encoder, in those that redact it, in the order that costs least."""
    encoder: Encoder
    match spec.schema:
        case "otel":
            encoder = OtelEncoder(cluster, node, spec.drop_fields)
        case "ecs":
            encoder = EcsEncoder(cluster, node, VERSION, data_stream)
        case "ocsf":
            encoder = OcsfEncoder(cluster, node, VERSION)
        case "native":
            encoder = NativeEncoder(cluster, node)
        case unknown:
            assert_never(unknown)
    if spec.drop_fields and spec.schema != "otel":  # which has no JSON, and drops fields itself
        encoder = FieldDropper(encoder, spec.drop_fields)
    if spec.labels is not None or not set(annotations) <= set(spec.annotations):
        encoder = PodRedactor(encoder, AllowedKeys(spec.labels), AllowedKeys(spec.annotations))
    return encoder


def _with_path(url: str, path: str, query: str = "") -> str:
    """The URL, with the path and the query when it has no path of its own."""
    parts = urlsplit(url)
    return url if parts.path not in ("", "/") else parts._replace(path=path, query=parts.query or query).geturl()


def _bulk_url(spec: FormatSpec) -> tuple[str, str | None, bool]:
    """The URL; the data stream or index that documents go to; whether the URL names it, and not each document's action.

    A path in the settings is used as it is: the part before `_bulk` may be an index or belong to a proxy, so only an index or
    data stream in the settings is written into each document's action.
    """
    chosen = spec.index or spec.data_stream
    parts = urlsplit(spec.url)
    if parts.path in ("", "/"):
        chosen = chosen or _DATA_STREAM
        return _with_path(spec.url, f"/{chosen}/_bulk", _FILTER_PATH), chosen, True
    before, _, last = parts.path.rpartition("/")
    url = parts._replace(query=parts.query or _FILTER_PATH).geturl() if last == "_bulk" else spec.url
    return url, chosen or before.rpartition("/")[2] or None, chosen is None
